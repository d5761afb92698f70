import { describe, expect, test, vi } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { createLatency, type StartPhase } from "#provider/kubernetes/latency.ts";
import { FakeConnection } from "./fake-connection.ts";
import { type Recorded, readRecording } from "./replay.ts";
import {
  creating,
  eventAbout,
  exited,
  id,
  kindsOf,
  missing,
  pod,
  running,
  watch,
} from "./watching.ts";

type Plain = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

describe("what is told of a worker", () => {
  test("each stage is told once, and none after the agent has connected", async () => {
    const { cluster, watcher, events } = await watch();
    watcher.expectStart(id);
    cluster.put("pods", pod());
    cluster.put("pods", pod(creating));
    cluster.put("pods", pod(creating));
    await vi.waitFor(() => expect(events).toHaveLength(1));
    cluster.put("events", eventAbout("Pulling", 'Pulling image "image:1"'));
    await vi.waitFor(() => expect(events).toHaveLength(2));
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(3));
    watcher.noteConnected(id);
    cluster.put("pods", pod(running));
    cluster.bookmark();
    expect(events).toMatchObject([
      {
        kind: "stage",
        workerId: id,
        stage: "scheduling",
        message: expect.stringContaining("node-1"),
      },
      { kind: "stage", stage: "pulling", message: expect.stringContaining("image:1") },
      { kind: "stage", stage: "connecting" },
    ]);
  });

  test("a stage that does not stand for a while is not told", async () => {
    const { cluster, watcher, events } = await watch({ stageDelayMs: 30 });
    cluster.put("pods", pod(creating));
    cluster.put("events", eventAbout("Pulling", 'Pulling image "image:1"'));
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toMatchObject([{ stage: "connecting" }]));
    const other = workerIdOf(2);
    watcher.noteConnected(other);
    cluster.put("pods", pod(running, { worker: other }));
    cluster.put("pods", pod(exited(0), { worker: other }));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "gone"]));
  });

  test("trouble that can pass is told at once, and as definite after its grace", async () => {
    const { cluster, events } = await watch({ graceMs: { image_missing: 20 } });
    cluster.put("pods", pod(missing));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "failed", "failed"]));
    expect(events.slice(1)).toMatchObject([
      { canPass: true, failure: { cause: "start_failed", blame: "user" } },
      { canPass: false, failure: { message: expect.stringContaining("code = NotFound") } },
    ]);
  });

  test("trouble that passes in time is never definite", async () => {
    const { cluster, events } = await watch({ graceMs: { image_missing: 100 } });
    cluster.put("pods", pod(missing));
    cluster.put("pods", pod(running));
    const other = workerIdOf(2);
    cluster.put("pods", pod(missing, { worker: other }));
    await vi.waitFor(() =>
      expect(events).toContainEqual(expect.objectContaining({ canPass: false })),
    );
    expect(events.filter((event) => event.kind === "failed" && event.workerId === id)).toEqual([
      expect.objectContaining({ canPass: true }),
    ]);
  });

  test("trouble without a way out is definite from the start", async () => {
    const { cluster, events } = await watch();
    cluster.put("pods", pod({ waiting: { reason: "InvalidImageName", message: "bad" } }));
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ kind: "failed", canPass: false }));
  });

  test("a volume's trouble comes from the event, also when that is seen before the pod", async () => {
    const { cluster, events } = await watch();
    cluster.put("events", eventAbout("FailedMount", 'secret "nope" not found'));
    cluster.put("pods", pod(creating));
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ kind: "failed", canPass: true }));
    expect(events.at(-1)).toMatchObject({
      failure: { message: expect.stringContaining("secret nope is missing") },
    });
  });

  test("an agent that ends before it connects is a failed start", async () => {
    const { cluster, watcher, events } = await watch();
    watcher.expectStart(id);
    cluster.put("pods", pod(running));
    cluster.put("pods", pod(exited(64)));
    await vi.waitFor(() => expect(kindsOf(events)).toContain("gone"));
    expect(events.at(-1)).toMatchObject({
      failure: { cause: "start_failed", stage: "connecting", evidence: { exit_code: "64" } },
    });
  });

  test("a connected agent that ends well is gone without a failure, once", async () => {
    const { cluster, watcher, events } = await watch();
    watcher.expectStart(id);
    cluster.put("pods", pod(running));
    watcher.noteConnected(id);
    const ended = pod(exited(0));
    cluster.put("pods", ended);
    cluster.put("pods", pod(exited(0), { phase: "Succeeded" }));
    cluster.remove("pods", ended);
    await vi.waitFor(() => expect(watcher.find(id)).toBeUndefined());
    cluster.put("pods", pod(running, { worker: workerIdOf(2) }));
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ workerId: workerIdOf(2) }));
    expect(events.filter(({ kind }) => kind === "gone")).toEqual([
      { kind: "gone", workerId: id, failure: undefined },
    ]);
  });

  test("what this server deletes is neither announced nor a failure", async () => {
    const { cluster, watcher, events } = await watch();
    cluster.put("pods", pod(running));
    watcher.expectGone(id);
    cluster.put("pods", pod(running, { deletingSeconds: 5 }));
    cluster.remove("pods", pod(exited(137), { deletingSeconds: 5 }));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "gone"]));
    expect(events.at(-1)).toMatchObject({ failure: undefined });
  });

  test("what a stranger deletes is announced with its grace, and then a failure", async () => {
    const { cluster, events } = await watch();
    cluster.put("pods", pod(running));
    cluster.put("pods", pod(running, { deletingSeconds: 5 }));
    cluster.remove("pods", pod(exited(0), { deletingSeconds: 5 }));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "stopping", "gone"]));
    expect(events).toMatchObject([
      {},
      { noticeMs: 5_000 },
      { failure: { cause: "worker_stopped", blame: "provider" } },
    ]);
  });

  const lost = pod(running, {
    conditions: [
      { type: "Ready", status: "False" },
      { type: "ContainersReady", status: "True" },
    ],
  });

  test("a pod that vanishes with its lost node is not gone, but uncertain", async () => {
    const { cluster, watcher, events } = await watch();
    cluster.put("pods", lost);
    cluster.remove("pods", lost);
    await vi.waitFor(() => expect(watcher.isEndUncertain(`uid-${id}`)).toBe(true));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "failed", "failed"]));
    expect(events.at(-1)).toMatchObject({ canPass: true, failure: { cause: "worker_lost" } });
  });

  test("once no agent can be left on the lost node, it is gone", async () => {
    const { cluster, watcher, events } = await watch({ uncertainMs: 1 });
    cluster.put("pods", lost);
    cluster.remove("pods", lost);
    await vi.waitFor(() => expect(kindsOf(events)).toContain("gone"));
    expect(watcher.isEndUncertain(`uid-${id}`)).toBe(false);
    expect(events.at(-1)).toMatchObject({ failure: { cause: "worker_lost", blame: "node" } });
  });

  test("a pod that is removed by force before anybody saw its end is uncertain", async () => {
    const { cluster, watcher, events } = await watch();
    cluster.put("pods", pod(creating));
    await vi.waitFor(() => expect(watcher.find(id)).toBeDefined());
    cluster.remove("pods", pod(creating, { deletingSeconds: 0 }));
    await vi.waitFor(() => expect(watcher.isEndUncertain(`uid-${id}`)).toBe(true));
    expect(kindsOf(events)).toEqual(["stage", "stopping"]);
  });

  test("a pod without a node is certainly gone with its object", async () => {
    const { cluster, events } = await watch();
    cluster.put("pods", pod());
    cluster.remove("pods", pod());
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["gone"]));
  });

  test("each part of a start is measured", async () => {
    const parts: StartPhase[] = [];
    const latency = createLatency({ observe: (phase) => void parts.push(phase) });
    const { cluster, watcher } = await watch({ latency });
    watcher.expectStart(id);
    cluster.put("pods", pod());
    cluster.put("pods", pod(creating));
    cluster.put("events", eventAbout("Pulled", "Successfully pulled"));
    await vi.waitFor(() => expect(parts).toEqual(["schedule", "pull"]));
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(parts).toEqual(["schedule", "pull", "init"]));
    watcher.noteConnected(id);
    watcher.noteConnected(id);
    expect(parts).toEqual(["schedule", "pull", "init", "connect"]);
  });

  test("an agent that connects before its container is seen to run counts as a start", async () => {
    const latency = createLatency();
    const { cluster, watcher } = await watch({ latency });
    watcher.expectStart(id);
    cluster.put("pods", pod(creating));
    await vi.waitFor(() => expect(latency.phasesOf()).toHaveProperty("schedule"));
    watcher.noteConnected(id);
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(latency.phasesOf()).toHaveProperty("connect"));
    expect(latency.estimateMs()).toBeLessThan(15_000);
  });
});

describe("recordings, told as events", () => {
  const lasting = [
    ["pod-image-registry-missing", ["start_failed", "worker_stopped"]],
    ["pod-missing-secret-env", ["start_failed", "worker_stopped"]],
    ["pod-unschedulable-cpu", ["no_provider", "worker_stopped"]],
    ["pod-exit-7", ["worker_died"]],
    ["pod-bad-command", ["start_failed"]],
    ["pod-oom-killed", ["out_of_memory"]],
    ["pod-oom-child-only", ["out_of_memory"]],
    ["pod-evicted-by-api", ["worker_stopped"]],
    ["pod-deadline-exceeded", ["worker_stopped"]],
    ["node-lost", ["worker_lost"]],
  ] as const;

  // Deletion hides what came before it, so the server starts at the latest with the line before.
  test.for(lasting)(
    "a server that starts in the middle of %s tells %o too",
    async ([name, causes]) => {
      const lines = readRecording(name).filter(
        ({ source }) => source === "pods" || source === "events",
      );
      const isLast = ({ object }: { readonly object: unknown }) =>
        (object as Plain)["metadata"]?.["deletionTimestamp"] !== undefined;
      const last = lines.findIndex(isLast);
      for (let at = 0; at < last; at++) {
        const cluster = new FakeConnection();
        for (const line of lines.slice(0, at)) show(cluster, line);
        const { events } = await watch({ graceMs: { image_missing: 60_000 } }, cluster);
        for (const line of lines.slice(at)) {
          show(cluster, line);
          await new Promise(setImmediate);
        }
        await vi.waitFor(() => expect(kindsOf(events)).toContain("gone"), { interval: 2 });
        const told = events.flatMap((event) =>
          event.kind === "failed" || event.kind === "gone" ? (event.failure?.cause ?? []) : [],
        );
        expect([...new Set(told)], `from line ${at}`).toEqual(causes);
        expect(events.filter(({ kind }) => kind === "gone")).toHaveLength(1);
      }
    },
  );

  const told = [
    ["pod-success", ["stage", "stage", "gone"]],
    ["pod-image-registry-missing", ["stage", "stage", "failed", "stopping", "gone"]],
    ["pod-missing-secret-volume", ["stage", "failed", "stopping", "gone"]],
    ["pod-unschedulable-cpu", ["failed", "stopping", "gone"]],
    ["pod-bad-command", ["stage", "gone"]],
    ["pod-oom-killed", ["stage", "stage", "gone"]],
    ["pod-evicted-by-api", ["stage", "stage", "stopping", "gone"]],
    ["pod-deadline-exceeded", ["stage", "stage", "stopping", "gone"]],
    ["node-lost", ["stage", "stage", "failed", "stopping", "gone"]],
  ] as const;

  test.for(told)("%s is told as %o", async ([name, kinds]) => {
    const { cluster, events } = await watch();
    for (const recorded of readRecording(name)) {
      show(cluster, recorded);
      // Both watches keep up, as they do when the lines come as far apart as they did.
      await new Promise(setImmediate);
    }
    await vi.waitFor(() => expect(kindsOf(events)).toContain("gone"));
    expect(kindsOf(events)).toEqual(kinds);
  });
});

/** Puts into the cluster what the recording shows, as one of our workers. */
function show(cluster: FakeConnection, { source, type, ...recorded }: Recorded): void {
  const object = recorded.object as Plain;
  if (source === "events") {
    const involvedObject = { ...object["involvedObject"], name: `hodei-worker-${id}` };
    cluster.put("events", { ...object, involvedObject });
  }
  if (source !== "pods") return;
  const metadata = { ...object["metadata"], labels: { "hodei.io/worker-id": id } };
  if (type === "DELETED") cluster.remove("pods", { ...object, metadata });
  else cluster.put("pods", { ...object, metadata });
}
