import { describe, expect, test, vi } from "vitest";
import { workerIdOf } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import { FakeConnection, kubeError } from "./fake-connection.ts";
import { exited, id, kindsOf, missing, pod, running, watch } from "./watching.ts";

describe("the watch", () => {
  test("whoever follows is first told how things stand", async () => {
    const cluster = new FakeConnection();
    cluster.put("pods", pod(missing));
    const other = workerIdOf(2);
    cluster.put("pods", pod(exited(3), { worker: other }));
    const { watcher } = await watch({}, cluster);
    const told: ProviderEvent[] = [];
    for await (const event of watcher.follow(new AbortController().signal)) {
      if (told.push(event) === 3) break;
    }
    expect(told).toMatchObject([
      { kind: "stage", workerId: id },
      { kind: "failed", workerId: id, canPass: true },
      { kind: "gone", workerId: other, failure: { cause: "worker_died" } },
    ]);
  });

  test("a cut watch goes on where it was, without listing and without telling twice", async () => {
    const { cluster, events } = await watch();
    cluster.put("pods", pod(missing));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "failed"]));
    cluster.cut(new Error("connection reset"));
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "failed", "stage"]));
    expect(cluster.asked.filter((asked) => asked === "GET /api/v1/pods")).toHaveLength(1);
  });

  test("a bookmark is where a cut watch goes on", async () => {
    const { cluster, events } = await watch();
    await vi.waitFor(() => expect(cluster.watches).toHaveLength(2));
    cluster.bookmark();
    cluster.compact();
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(1));
    cluster.cut();
    await vi.waitFor(() => expect(cluster.watches).toHaveLength(2));
    expect(cluster.asked.filter((asked) => asked.startsWith("GET"))).toHaveLength(2);
    expect(cluster.watches[0]?.query).toMatchObject({ allowWatchBookmarks: "true" });
  });

  test.for(["in the stream", "as the answer"])(
    "410 %s lists again, and what vanished is gone",
    async (where) => {
      const { cluster, events, watcher } = await watch();
      cluster.put("pods", pod());
      await vi.waitFor(() => expect(watcher.find(id)).toBeDefined());
      let isRefused = where === "as the answer";
      cluster.fault = (asked) => {
        if (!isRefused || !asked.startsWith("WATCH /api/v1/pods")) return undefined;
        isRefused = false;
        return kubeError(410);
      };
      cluster.cut();
      cluster.remove("pods", pod());
      cluster.put("pods", pod(running, { worker: workerIdOf(2) }));
      if (where === "in the stream") cluster.compact();
      await vi.waitFor(() => expect(watcher.find(id)).toBeUndefined());
      await vi.waitFor(() => expect(watcher.find(workerIdOf(2))).toBeDefined());
      expect(events.filter(({ kind }) => kind === "gone")).toMatchObject([
        { workerId: id, failure: { cause: "worker_stopped", evidence: { reason: "Vanished" } } },
      ]);
    },
  );

  test("errors are waited out", async () => {
    const cluster = new FakeConnection();
    let failures = 0;
    cluster.fault = (asked) =>
      asked === "GET /api/v1/pods" && ++failures < 5
        ? kubeError(failures === 1 ? 0 : 500)
        : undefined;
    const { events } = await watch({}, cluster);
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(1));
    expect(failures).toBe(5);
  });

  test("a watch that falls silent is begun again", async () => {
    const { cluster, events } = await watch({ pace: { idleMs: 30 } });
    await vi.waitFor(() =>
      expect(
        cluster.asked.filter((asked) => asked.startsWith("WATCH /api/v1/pods")).length,
      ).toBeGreaterThan(1),
    );
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(1));
  });

  test("a line that is no JSON breaks the watch, and nothing else", async () => {
    const { cluster, events } = await watch();
    await vi.waitFor(() => expect(cluster.watches).toHaveLength(2));
    for (const { lines } of cluster.watches) lines.add("{");
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(1));
  });

  test("long lists come in pages", async () => {
    const cluster = new FakeConnection();
    for (let n = 1; n <= 7; n++) cluster.put("pods", pod(running, { worker: workerIdOf(n) }));
    const { watcher } = await watch({ pace: { pageSize: 3 } }, cluster);
    expect(watcher.find(workerIdOf(7))).toMatchObject({ namespace: "workers", isRunning: true });
    expect(cluster.asked.filter((asked) => asked === "GET /api/v1/pods")).toHaveLength(3);
  });

  test("where the cluster may not be watched, each namespace is", async () => {
    const cluster = new FakeConnection();
    cluster.fault = (asked) =>
      / \/api\/v1\/(pods|events)/.test(asked) ? kubeError(403) : undefined;
    cluster.put("pods", pod(running));
    const { watcher, events } = await watch({ scope: "auto", namespaces: ["workers"] }, cluster);
    expect(watcher.find(id)).toBeDefined();
    const other = workerIdOf(2);
    watcher.add("tenant");
    watcher.add("tenant");
    cluster.put("pods", pod(running, { worker: other, namespace: "tenant" }));
    await vi.waitFor(() => expect(watcher.find(other)).toMatchObject({ namespace: "tenant" }));
    expect(events).toHaveLength(2);
  });

  test("events that may not be read leave the pods' own status", async () => {
    const cluster = new FakeConnection();
    cluster.fault = (asked) => (asked.includes("/events") ? kubeError(403) : undefined);
    const { events } = await watch({}, cluster);
    cluster.put("pods", pod(missing));
    await vi.waitFor(() => expect(kindsOf(events)).toEqual(["stage", "failed"]));
  });

  test("pods of others are not looked at", async () => {
    const { cluster, events } = await watch();
    cluster.put("pods", { metadata: { name: "x", namespace: "y", uid: "z" } });
    cluster.put("pods", pod(running));
    await vi.waitFor(() => expect(events).toHaveLength(1));
  });
});
