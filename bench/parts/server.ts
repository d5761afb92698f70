import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BroadcastChannel } from "node:worker_threads";
import { type Config, parseConfig } from "#config.ts";
import { type WorkerId, createSequence, workerIdOf } from "#job/id.ts";
import { type Server, startServer } from "#server.ts";
import { openRedisStore } from "#store/redis/open.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import { createSecret, hashSecret } from "#worker/secret.ts";
import type { Seat } from "./agents.ts";
import { memoryChannel, type ThreadMemory } from "./thread.ts";

/** The product's server, as `hodei server` starts it, with every fsync: on an embedded store in a directory of its own, unless its settings name a Redis. */
export const calls = { start, memory, stop };

/** What is wanted of a server. */
export interface ServerSettings {
  /** Workers that are let in without a provider having started them. */
  readonly seats?: number;
  readonly slots?: number;
  /** Further settings, by name. */
  readonly settings?: Readonly<Record<string, string>>;
}

let server: Server | undefined;
let folder: string | undefined;

async function start(
  wanted: ServerSettings,
): Promise<{ readonly address: string; readonly seats: readonly Seat[] }> {
  folder = await mkdtemp(join(process.env["HODEI_BENCH_DIRECTORY"] ?? tmpdir(), "hodei-bench-"));
  const { config } = parseConfig({
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: "",
    HODEI_DATA_DIRECTORY: folder,
    HODEI_LOG_LEVEL: "error",
    HODEI_PROCESS_ENABLED: "false",
    HODEI_MAX_QUEUED_JOBS_PER_TENANT: "10000000",
    HODEI_WORKER_IDLE_TIMEOUT_MS: "86400000",
    HODEI_WORKER_MAX_JOBS: "0",
    HODEI_WORKER_SLOTS: String(wanted.slots ?? 1),
    HODEI_MAX_WATCHES: "100000",
    HODEI_LOG_QUOTA_BYTES: String(2 ** 34),
    ...wanted.settings,
  });
  const seats = await seatWorkers(config, wanted);
  server = await startServer(config, createLogger(config.logLevel));
  return { address: server.address, seats };
}

/** Plans workers in the store before the server has it, so that their tokens are known here. */
async function seatWorkers(config: Config, wanted: ServerSettings): Promise<readonly Seat[]> {
  if (wanted.seats === undefined) return [];
  await using store = await openStoreOf(config);
  const now = Date.now();
  const next = createSequence();
  const resources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };
  const classKey = classKeyOf(
    classOf({ image: "", resources, provider: undefined, executionTimeoutMs: 1 }),
  );
  const seats = Array.from({ length: wanted.seats }, () => ({
    workerId: workerIdOf(next(now)),
    otp: createSecret(),
  }));
  await store.planWorkers(
    seats.map(({ workerId, otp }) => ({
      id: workerId,
      provider: "bench",
      classKey,
      tenant: undefined,
      resourceName: workerId,
      otpHash: hashSecret(otp),
      otpExpiresAt: now + 3_600_000,
      startDeadline: now + 3_600_000,
      slots: wanted.slots ?? 1,
      maxJobs: 1_000_000_000,
      isWarm: true,
      isForJobOnly: false,
    })),
    now,
  );
  for (const { workerId } of seats)
    await store.recordCreated(workerId satisfies WorkerId, `uid-${workerId}`, now);
  return seats;
}

function openStoreOf(config: Config): Promise<Store> {
  const { redisUrl: url, redisInstance: instance } = config;
  if (config.store === "redis") return openRedisStore({ url, instance });
  return openSqliteStore({ path: join(config.dataDirectory, "hodei.db") });
}

/** What all threads hold after garbage collections, and what is resident. */
async function memory(): Promise<{
  readonly heapBytes: number;
  readonly rssBytes: number;
  readonly threads: number;
}> {
  const channel = new BroadcastChannel(memoryChannel);
  const threads = new Map<number, number>();
  channel.onmessage = (event) => {
    const { threadId, heapBytes } = (event as { data: ThreadMemory }).data;
    threads.set(threadId, heapBytes);
  };
  for (let pass = 0; pass < 3; pass++) {
    // What was under way is done by then, and what a collection finds is let go before the next.
    await new Promise((resolve) => setTimeout(resolve, 500));
    channel.postMessage("read");
    (globalThis as { gc?: () => void }).gc?.();
  }
  await new Promise((resolve) => setTimeout(resolve, 500));
  channel.close();
  const { heapUsed, external, rss } = process.memoryUsage();
  const others = [...threads.values()].reduce((sum, bytes) => sum + bytes, 0);
  return { heapBytes: heapUsed + external + others, rssBytes: rss, threads: threads.size };
}

async function stop(): Promise<void> {
  await server?.[Symbol.asyncDispose]();
  if (folder !== undefined) await rm(folder, { recursive: true, force: true });
}
