import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import type { WorkerId } from "#job/id.ts";
import { workerIdOf } from "#job/id.ts";
import type { Provider, ProviderEvent, StartedWorker, WorkerSpec } from "#provider/provider.ts";
import { noPreference } from "#worker/class.ts";

/** What a worker of the suite does once it was given its token. */
export type WorkerWay = "wait" | "exit 3" | "stubborn" | "stubborn job" | "job" | "escape";

export interface WorkerReport {
  readonly otpLength: number;
  readonly env: Readonly<Record<string, string>>;
}

/** A place where a provider runs. */
export interface ProviderGround extends AsyncDisposable {
  /** Opens a provider whose workers do as `way` says. Two calls with one instance are a server before and after its restart. */
  open(options: { readonly instanceId?: string; readonly way?: WorkerWay }): Promise<Provider>;
  /** What the worker says of itself; undefined as long as it says nothing. */
  report(id: WorkerId): Promise<WorkerReport | undefined>;
  /** Names of everything that runs on a worker's behalf, also what its jobs started. */
  remains(id: WorkerId): Promise<readonly string[]>;
  /** Kills a worker behind the provider's back. */
  kill(id: WorkerId): Promise<void>;
  /** Variables that every worker is given. */
  readonly env: Readonly<Record<string, string>>;
}

const patience = { timeout: 20_000, interval: 20 };
const secret = `otp-${"s".repeat(39)}`;
let counter = Date.now();

/** The suite that every provider passes. */
export function providerConformance(name: string, prepare: () => Promise<ProviderGround>): void {
  describe(`${name} provider`, () => {
    it("lists a worker after starting it, and not after stopping it", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const { id, uid } = await start(provider);
      expect(await provider.listWorkers()).toEqual([{ id, uid, isRunning: true }]);
      await provider.stopWorker(id, 1_000);
      expect(await provider.listWorkers()).toEqual([]);
    });

    it("starting twice starts one", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const spec = specOf();
      const signal = new AbortController().signal;
      const both = [provider.startWorker(spec, signal), provider.startWorker(spec, signal)];
      const [first, second] = await Promise.all(both);
      expect(second).toEqual(first);
      expect(await provider.startWorker(spec, signal)).toEqual(first);
      expect(await provider.listWorkers()).toHaveLength(1);
      await provider.stopWorker(spec.workerId, 0);
    });

    it("stopping twice, or something unknown, is fine", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const { id } = await start(provider);
      await Promise.all([provider.stopWorker(id, 500), provider.stopWorker(id, 500)]);
      await provider.stopWorker(id, 500);
      await provider.stopWorker(specOf().workerId, 500);
      expect(await provider.listWorkers()).toEqual([]);
    });

    it("reports the exit code of a worker that ends by itself", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({ way: "exit 3" });
      await using events = follow(provider);
      const { id } = await start(provider);
      const gone = await events.gone(id);
      expect(gone.failure).toMatchObject({ evidence: { exit_code: "3" } });
      // It never redeemed its token; where that is known, its start has failed.
      expect(["worker_died", "start_failed"]).toContain(gone.failure?.cause);
      expect(await provider.listWorkers()).toEqual([]);
    });

    it("reports a worker that was killed, and what its jobs had started is gone too", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({ way: "job" });
      await using events = follow(provider);
      const { id, uid } = await start(provider);
      await reported(ground, id);
      await provider.forgetToken?.(id);
      await ground.kill(id);
      const gone = await events.gone(id);
      expect(gone.failure).toMatchObject({ cause: "worker_died" });
      expect(await provider.confirmDead(id, uid)).toBe("dead");
      expect(await ground.remains(id)).toEqual([]);
    });

    it("says that a start has come to connecting, and that a stopped worker is gone on purpose", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      await using events = follow(provider);
      const { id } = await start(provider);
      await vi.waitFor(() => expect(events.stages(id)).toContain("connecting"), patience);
      await provider.stopWorker(id, 1_000);
      expect((await events.gone(id)).failure).toBeUndefined();
    });

    it("kills what ignores the grace period, and all that it started", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({ way: "stubborn job" });
      const { id } = await start(provider);
      await reported(ground, id);
      expect((await ground.remains(id)).length).toBeGreaterThan(1);
      await provider.stopWorker(id, 100);
      await vi.waitFor(async () => expect(await ground.remains(id)).toEqual([]), patience);
    });

    it("leaves nothing behind when a start is aborted", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const spec = specOf();
      const abort = new AbortController();
      const starting = provider.startWorker(spec, abort.signal);
      abort.abort();
      await expect(starting).rejects.toMatchObject({ name: "AbortError" });
      await vi.waitFor(async () => {
        expect(await ground.remains(spec.workerId)).toEqual([]);
        expect(await provider.listWorkers()).toEqual([]);
      }, patience);
    });

    it("passes the environment unharmed", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const { id } = await start(provider);
      const { env } = await reported(ground, id);
      expect(env).toMatchObject(ground.env);
      expect(env).toMatchObject({ HODEI_WORKER_ID: id, HODEI_SERVER_ADDRESS: "127.0.0.1:1" });
      await provider.stopWorker(id, 0);
    });

    it("hands the token over so that no process shows it", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const { id } = await start(provider);
      const { otpLength } = await reported(ground, id);
      expect(otpLength).toBe(secret.length);
      expect(processesThatShow(secret)).toEqual([]);
      await provider.stopWorker(id, 0);
    });

    it("tells dead from alive by uid, not by name", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const spec = specOf();
      const { uid } = await provider.startWorker(spec, new AbortController().signal);
      const { workerId: id } = spec;
      expect(await provider.confirmDead(id, uid)).toBe("alive");
      await provider.stopWorker(id, 0);
      expect(await provider.confirmDead(id, uid)).toBe("dead");
      const next = await provider.startWorker(spec, new AbortController().signal);
      expect(next.uid).not.toBe(uid);
      expect(await provider.confirmDead(id, uid)).toBe("dead");
      expect(await provider.confirmDead(id, next.uid)).toBe("alive");
      await provider.stopWorker(id, 0);
      expect(await provider.confirmDead(id, undefined)).toBe("dead");
    });

    it("a new instance finds the workers of the old one, where they survive", async () => {
      await using ground = await prepare();
      const old = await ground.open({});
      const { id, uid } = await start(old);
      await reported(ground, id);
      await old[Symbol.asyncDispose]();
      if (!old.capabilities.survivesRestart) return;
      await using provider = await ground.open({});
      await using events = follow(provider);
      expect(await provider.listWorkers()).toEqual([{ id, uid, isRunning: true }]);
      expect(await provider.confirmDead(id, uid)).toBe("alive");
      await ground.kill(id);
      expect((await events.gone(id)).failure).toMatchObject({ cause: "worker_died" });
    });

    it("keeps to its own workers when two servers share a host", async () => {
      await using ground = await prepare();
      await using one = await ground.open({ instanceId: "one" });
      await using other = await ground.open({ instanceId: "other" });
      const { id, uid } = await start(one);
      expect(await other.listWorkers()).toEqual([]);
      await other.stopWorker(id, 0);
      expect(await one.confirmDead(id, uid)).toBe("alive");
      await one.stopWorker(id, 0);
    });

    it("refuses what it cannot run, and is healthy", async () => {
      await using ground = await prepare();
      await using provider = await ground.open({});
      const { images, gpu } = provider.capabilities;
      const withImage = provider.refusalOf({ ...specOf().workerClass, image: "some/image:1" });
      expect(withImage === undefined).toBe(images);
      const resources = { ...specOf().workerClass.resources, gpuCount: 1 };
      const withGpu = provider.refusalOf({ ...specOf().workerClass, resources });
      expect(withGpu === undefined).toBe(gpu);
      expect(await provider.health()).toMatchObject({ state: "healthy" });
      expect(provider.startEstimateMs()).toBeGreaterThan(0);
    });
  });
}

function specOf(): WorkerSpec {
  return {
    workerId: workerIdOf(counter++),
    workerClass: {
      image: "",
      resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
      provider: noPreference,
      longestHours: 1,
    },
    tenant: undefined,
    otp: secret,
    serverAddress: "127.0.0.1:1",
    serverCa: undefined,
    slots: 1,
    labels: {},
    annotations: {},
    maxLifetimeMs: undefined,
    disconnectToleranceMs: 60_000,
  };
}

async function start(provider: Provider): Promise<StartedWorker & { readonly id: WorkerId }> {
  const spec = specOf();
  const started = await provider.startWorker(spec, new AbortController().signal);
  return { id: spec.workerId, uid: started.uid };
}

async function reported(ground: ProviderGround, id: WorkerId): Promise<WorkerReport> {
  return vi.waitFor(async () => {
    const report = await ground.report(id);
    if (report === undefined) throw new Error(`${id} has said nothing`);
    return report;
  }, patience);
}

function follow(provider: Provider) {
  const abort = new AbortController();
  const seen: ProviderEvent[] = [];
  const events = provider.watch(abort.signal);
  const reading = (async () => {
    for await (const event of events) seen.push(event);
  })();
  return {
    gone: (id: WorkerId) =>
      vi.waitFor(() => {
        const found = seen.find((event) => event.kind === "gone" && event.workerId === id);
        if (found?.kind !== "gone") throw new Error(`${id} is not gone`);
        return found;
      }, patience),
    stages: (id: WorkerId) =>
      seen.flatMap((event) =>
        event.kind === "stage" && event.workerId === id ? [event.stage] : [],
      ),
    async [Symbol.asyncDispose]() {
      abort.abort();
      await reading;
    },
  };
}

/** Other processes of this machine in whose arguments or environment the text can be read. */
function processesThatShow(text: string): string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
    return ["cmdline", "environ"].some((file) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, "latin1").includes(text);
      } catch {
        return false;
      }
    });
  });
}
