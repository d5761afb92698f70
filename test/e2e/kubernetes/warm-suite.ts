import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";

const patience = { timeout: 180_000, interval: 100 };
const warm = { provider: "kubernetes", strict: true };

/** Pods that are there before their jobs. */
export function warmSuite(name: string, open: () => Promise<Cluster>): void {
  describe(`warm pools on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;

    beforeAll(async () => {
      ground = new Ground(await open());
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);

    test("a job takes a warm pod at once, the pool is refilled, and shrinks when it is made smaller", async () => {
      const hodei = await ground.start({ env: poolOf({ ...warm, count: 2 }) });
      const before = await idleWorkers(hodei, 2);
      const { job, output, events } = await hodei.run({ command: ["echo", "at once"] });
      expect(output).toBe("at once\n");
      expect(before).toContain(job.attempts[0]?.workerId);
      // No pod was made for it.
      expect(events.map(({ stage }) => stage)).not.toContain("creating");
      const after = await idleWorkers(hodei, 2);
      expect(after).not.toEqual(before);

      await hodei.server.end("SIGTERM");
      await hodei.server.start(poolOf({ ...warm, count: 1 }));
      expect(after).toContain((await idleWorkers(hodei, 1))[0]);

      await hodei.server.end("SIGTERM");
      await hodei.server.start(poolOf({ ...warm, count: 0 }));
      await hodei.isClean();
    });

    test("where tenants have namespaces, a warm pod is in its tenant's and takes that tenant's jobs alone", async () => {
      const hodei = await ground.start({
        env: {
          ...poolOf({ ...warm, count: 1, tenant: "acme" }),
          HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "1",
        },
      });
      const [own] = await idleWorkers(hodei, 1);
      const labelSelector = `hodei.io/worker-id=${own}`;
      const namespace = `${hodei.namespace}-t-acme`;
      const { items } = await ground.core.listNamespacedPod({ namespace, labelSelector });
      expect(items[0]?.metadata?.labels).toMatchObject({ "hodei.io/tenant-id": "acme" });

      const other = await hodei.run({ command: ["echo", "other"] }, "other");
      expect(other.output).toBe("other\n");
      expect(other.job.attempts[0]?.workerId).not.toBe(own);
      const { job } = await hodei.run({ command: ["echo", "own"] }, "acme");
      expect(job.attempts[0]?.workerId).toBe(own);

      await hodei.server.end("SIGTERM");
      await hodei.server.start(poolOf({ ...warm, count: 0, tenant: "acme" }));
      await hodei.isClean();
    });
  });
}

function poolOf(pool: object): Record<string, string> {
  return { HODEI_WARM_POOL: JSON.stringify([pool]), HODEI_WORKER_IDLE_TIMEOUT_MS: "500" };
}

/** Waits until so many workers, and no others, wait for a job; gives their ids in order. */
async function idleWorkers(hodei: Running, count: number): Promise<readonly string[]> {
  return vi.waitFor(async () => {
    const ready: string[] = [];
    const others: string[] = [];
    for await (const { id, state, jobIds } of hodei.client.workers.list()) {
      (state === "ready" && jobIds.length === 0 ? ready : others).push(id);
    }
    expect([ready.length, others]).toEqual([count, []]);
    return ready.toSorted();
  }, patience);
}
