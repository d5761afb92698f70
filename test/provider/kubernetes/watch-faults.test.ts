import { expect, test, vi } from "vitest";
import { type WorkerId, workerIdOf } from "#job/id.ts";
import { FakeConnection, kubeError } from "./fake-connection.ts";
import { type Recorded, readRecording } from "./replay.ts";
import { kindsOf, watch } from "./watching.ts";

type Plain = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Each ends with its container, before its object is deleted; a server that sees no more than that end still knows why. */
const ends = [
  ["pod-exit-7", "worker_died"],
  ["pod-bad-command", "start_failed"],
  ["pod-oom-killed", "out_of_memory"],
  ["pod-oom-child-only", "out_of_memory"],
  ["pod-deadline-exceeded", "worker_stopped"],
  ["pod-success", undefined],
] as const;

interface Run {
  readonly id: WorkerId;
  readonly cause: string | undefined;
  readonly lines: Recorded[];
}

/** A small generator of its own, so that a seed that fails fails again. */
function randomOf(seed: number): () => number {
  let state = seed * 2_654_435_761;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 2_246_822_519) + 0x9e3779b9) >>> 0;
    return state / 2 ** 32;
  };
}

function runsOf(count: number): Run[] {
  return Array.from({ length: count }, (_, n) => {
    const [name, cause] = ends[n % ends.length] ?? ends[0];
    const lines = readRecording(name).filter(
      ({ source, object }) =>
        (source === "pods" || source === "events") &&
        (object as Plain)["metadata"]?.["deletionTimestamp"] === undefined,
    );
    return { id: workerIdOf(n + 1), cause, lines };
  });
}

function show(cluster: FakeConnection, { id }: Run, { source, ...recorded }: Recorded): void {
  const object = recorded.object as Plain;
  const uid = `${String(object["metadata"]?.["uid"])}-${id}`;
  const name = `hodei-worker-${id}`;
  if (source === "pods") {
    const labels = { "hodei.io/worker-id": id };
    cluster.put("pods", { ...object, metadata: { ...object["metadata"], uid, name, labels } });
    return;
  }
  const involved = object["involvedObject"];
  const involvedObject = { ...involved, uid: `${String(involved?.["uid"])}-${id}`, name };
  cluster.put("events", { ...object, metadata: { ...object["metadata"], uid }, involvedObject });
}

test.for(Array.from({ length: 12 }, (_, n) => n + 1))(
  "every end is told once and rightly through cut, silent, broken and expired watches (seed %i)",
  async (seed) => {
    const random = randomOf(seed);
    const cluster = new FakeConnection();
    cluster.fault = () => (random() < 0.2 ? kubeError(random() < 0.5 ? 0 : 503) : undefined);
    const { events, watcher } = await watch({ pace: { idleMs: 20 } }, cluster);
    const runs = runsOf(18);
    let left = runs;
    while (left.length > 0) {
      const run = left[Math.floor(random() * left.length)];
      const line = run?.lines.shift();
      if (run !== undefined && line !== undefined) show(cluster, run, line);
      left = left.filter(({ lines }) => lines.length > 0);
      const dice = random();
      if (dice < 0.03) cluster.cut();
      else if (dice < 0.06) cluster.cut(new Error("connection reset"));
      else if (dice < 0.08) {
        cluster.compact();
        cluster.cut();
      } else if (dice < 0.1) {
        for (const { lines } of cluster.watches) lines.add('{"type":"MODI');
      } else if (dice < 0.13) cluster.bookmark();
      if (dice > 0.6) await new Promise(setImmediate);
    }
    await vi.waitFor(() => {
      expect(kindsOf(events).filter((kind) => kind === "gone")).toHaveLength(runs.length);
    });
    const told = runs.map(({ id }) => {
      const own = events.filter((event) => event.workerId === id);
      const causes = own.flatMap((event) => (event.kind === "gone" ? [event.failure?.cause] : []));
      const isLast = own.at(-1)?.kind === "gone";
      return { id, causes, isLast, hasFailedBefore: kindsOf(own).includes("failed") };
    });
    expect(told).toEqual(
      runs.map(({ id, cause }) => ({ id, causes: [cause], isLast: true, hasFailedBefore: false })),
    );
    expect(runs.every(({ id }) => watcher.find(id)?.isRunning === false)).toBe(true);
  },
);
