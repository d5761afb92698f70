import { credentials } from "@grpc/grpc-js";
import { readFileSync } from "node:fs";
import { HodeiClient } from "#client/client.ts";
import { channelOptions } from "#rpc/channel.ts";
import { LogStreamServiceClient, type StreamLogsResponse } from "#rpc/gen/hodei/v1/log_service.ts";
import { inLots, type Load, type LoadResult, type Lot, pace, spin } from "./spin.ts";

/** The SDK as its users have it: one promise for each submit. */
export const calls = {
  submit,
  submitMany,
  runMany,
  paced,
  follow,
  followed: () => bytes,
  followedAtLeast,
  idle,
  firstByteMs,
  readyWorkers,
  stop: () => clients.forEach((client) => client.close()),
};

interface At {
  readonly address: string;
  readonly token?: string;
  /** File with the authority of a server that speaks TLS. */
  readonly caFile?: string;
}

const clients = new Map<string, HodeiClient>();

function clientOf({ address, token, caFile }: At): HodeiClient {
  const known = clients.get(address);
  if (known !== undefined) return known;
  const ca = caFile === undefined ? undefined : readFileSync(caFile);
  const made = new HodeiClient({ address, token, ca });
  clients.set(address, made);
  return made;
}

function specOf(bytes: number) {
  return { command: ["true"], env: { PAYLOAD: "x".repeat(Math.max(bytes - 30, 1)) } };
}

/** Submits, so many in flight. */
function submit(load: Load & At & { readonly specBytes: number }): Promise<LoadResult> {
  const client = clientOf(load);
  const spec = specOf(load.specBytes);
  return spin(load, () => client.submit(spec));
}

/** So many submits; with `withoutKeys` no idempotency key goes with them. */
async function submitMany(
  load: Lot & At & { readonly specBytes: number; readonly withoutKeys?: boolean },
): Promise<void> {
  const client = clientOf(load);
  const spec = specOf(load.specBytes);
  const options = load.withoutKeys === true ? ({ idempotencyKey: false } as const) : {};
  await inLots(load, () => client.submit(spec, options));
}

/** Submits commands, waits until all have ended, and gives how long that took. */
async function runMany(load: Lot & At & { readonly command: readonly string[] }): Promise<number> {
  const client = clientOf(load);
  const ids: string[] = [];
  const startedAt = performance.now();
  await inLots(load, async () => {
    ids.push((await client.submit({ command: load.command })).id);
  });
  // They run in the order of their ids, so the last ones end last; watching all would be a load of its own.
  await Promise.all(
    ids
      .toSorted()
      .slice(-64)
      .map((id) => client.wait(id)),
  );
  const elapsedMs = performance.now() - startedAt;
  for await (const job of client.list({
    states: ["queued", "starting", "running", "failed", "timed_out", "cancelled"],
  })) {
    throw new Error(`job ${job.id} is ${job.state}: ${job.failure?.message ?? ""}`);
  }
  return elapsedMs;
}

/** Submits at a steady rate; each job carries the time of its submit. */
async function paced(
  load: At & { readonly perSecond: number; readonly count: number },
): Promise<void> {
  const client = clientOf(load);
  const padding = "x".repeat(940);
  await pace(load, () =>
    client.submit({
      command: ["true"],
      env: { AT: String(performance.timeOrigin + performance.now()), PAYLOAD: padding },
    }),
  );
}

/** From a job's submit to the first byte of its log; resolves once the job has ended. */
async function firstByteMs(load: At & { readonly command: readonly string[] }): Promise<number> {
  const client = clientOf(load);
  const startedAt = performance.now();
  const { id } = await client.submit({ command: load.command });
  let elapsedMs = NaN;
  for await (const _record of client.logs(id, { follow: true })) {
    elapsedMs = performance.now() - startedAt;
    break;
  }
  const { state } = await client.wait(id);
  if (state !== "succeeded") throw new Error(`job ${id} is ${state}`);
  return elapsedMs;
}

/** Waits until so many workers wait for a job, and none is left of earlier ones. */
async function readyWorkers(at: At & { readonly count: number }): Promise<void> {
  const client = clientOf(at);
  for (;;) {
    const states: string[] = [];
    for await (const worker of client.workers.list()) states.push(worker.state);
    if (states.length === at.count && states.every((state) => state === "ready")) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

let bytes = 0;
const waiters = new Set<() => void>();

/** So many followers of one log over one connection; they count its bytes. */
async function follow(
  load: At & { readonly jobId: string; readonly followers: number },
): Promise<void> {
  bytes = 0;
  const client = new LogStreamServiceClient(
    load.address,
    credentials.createInsecure(),
    channelOptions({ isShared: false }),
  );
  let ended = 0;
  for (let count = 0; count < load.followers; count++) {
    const call = client.streamLogs({
      jobId: load.jobId,
      cursor: undefined,
      follow: true,
      tailLines: 0,
      stream: 0,
      attempt: 0,
    });
    call.on("data", (response: StreamLogsResponse) => {
      for (const chunk of response.batch?.chunks ?? []) bytes += chunk.data.length;
      for (const waiter of waiters) waiter();
    });
    call.on("error", (error) => console.error(`follower: ${error.message}`));
    call.on("end", () => {
      if (++ended === load.followers) client.close();
    });
  }
  await new Promise((resolve) => setTimeout(resolve, 100));
}

/** Resolves once the followers have so many bytes together. */
async function followedAtLeast(least: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const look = (): void => {
      if (bytes < least) return;
      waiters.delete(look);
      resolve();
    };
    waiters.add(look);
    look();
  });
}

/** So many followers of a log in which nothing happens, 50 on a connection. */
async function idle(
  load: At & { readonly jobId: string; readonly followers: number },
): Promise<void> {
  for (let left = load.followers; left > 0; left -= 50)
    await follow({ ...load, followers: Math.min(left, 50) });
}
