import type { Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import type { JobId } from "#job/id.ts";
import { wholeDump, type DumpedRow, type StoreDump } from "#store/dump.ts";
import { auditEntryOf, tokenOf } from "./access.ts";
import { connectRedis, prefixOf } from "./connect.ts";
import { checkServer } from "./check.ts";
import { explain } from "./fault.ts";
import { load } from "./load.ts";
import { unpack } from "./pack.ts";
import { decodeProvider, decodeState, eventOf } from "./providers.ts";
import { decodeEvents, decodeJob, refsOf } from "./rows.ts";
import type { Shelf } from "./specs.ts";
import { maybeBytes, toBytes, toList, toNumber, toText } from "./values.ts";
import { decodeWorker } from "./workers.ts";
import { refuseOthers } from "./open.ts";

export interface RedisDumpOptions {
  readonly url: string;
  readonly instance: string;
}

const commandTimeoutMs = 30_000;
/** Rows that are read at a time. */
const chunkRows = 200;

/** Opens an instance in Redis to be copied. Errors: as of `openRedisStore`; `failed_precondition` while a server uses it. */
export async function openRedisDump({ url, instance }: RedisDumpOptions): Promise<StoreDump> {
  const connection = await connectRedis({ url, commandTimeoutMs }, { instance });
  const { redis, shelf } = connection;
  const prefix = prefixOf(instance);
  try {
    await refuseOthers(redis, { instance, prefix });
  } catch (error) {
    connection.close();
    throw error instanceof HodeiError ? error : explain(error).error;
  }
  return {
    dump: () => wholeDump(rowsOf(redis, shelf, prefix)),
    load: async (records) => {
      await checkServer(redis, { isReplicated: false, allowsUnsafe: false });
      return load(connection, prefix, records);
    },
    [Symbol.asyncDispose]: async () => connection.close(),
  };
}

async function* rowsOf(redis: Redis, shelf: Shelf, prefix: string): AsyncGenerator<DumpedRow> {
  yield* workersOf(redis, prefix);
  yield* jobsOf(redis, shelf, prefix);
  yield* keysOf(redis, prefix);
  for (const id of await redis.zrange(`${prefix}ti`, "0", "-1")) {
    const row = await redis.hgetBuffer(`${prefix}t`, id);
    if (row !== null) yield { kind: "token", ...tokenOf(row) };
  }
  yield* auditOf(redis, prefix);
  const providers = (await redis.hvalsBuffer(`${prefix}p`)).map(decodeProvider);
  providers.sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const provider of providers) yield { kind: "provider", provider };
  yield* providerEventsOf(redis, prefix);
  const states = (await redis.hvalsBuffer(`${prefix}ps`)).map(decodeState);
  states.sort((one, other) => (one.provider < other.provider ? -1 : 1));
  for (const state of states) yield { kind: "provider_state", state };
}

async function* workersOf(redis: Redis, prefix: string): AsyncGenerator<DumpedRow> {
  for await (const ids of chunksOf((from, to) =>
    redis.zrange(`${prefix}wa`, String(from), String(to)),
  )) {
    const rows = await redis.hmgetBuffer(`${prefix}w`, ...ids);
    for (const [at, raw] of rows.entries()) {
      const found = raw === null ? undefined : decodeWorker([Buffer.from(ids[at] ?? ""), raw]);
      if (found === undefined || raw === null) continue;
      const { jobs: _, ...worker } = found;
      const row = toList(unpack(raw)[0]);
      const [otpHash, otpExpiresAt] = [toBytes(row[20]), toNumber(row[21])];
      const secrets = { otpHash, otpExpiresAt, sessionHash: maybeBytes(row[22]) };
      yield { kind: "worker", worker: { ...worker, ...secrets } };
    }
  }
}

async function* jobsOf(redis: Redis, shelf: Shelf, prefix: string): AsyncGenerator<DumpedRow> {
  for await (const ids of chunksOf((from, to) =>
    redis.lrange(`${prefix}i`, String(from), String(to)),
  )) {
    const [known, changed] = await Promise.all([
      redis.hmgetBuffer(`${prefix}s`, ...ids),
      redis.hmgetBuffer(`${prefix}j`, ...ids),
    ]);
    const rows = ids.map((id, at) => [Buffer.from(id), known[at] ?? false, changed[at] ?? false]);
    const specs = await shelf.read(refsOf(rows));
    for (const shown of rows) {
      const job = decodeJob(shown, specs);
      if (job !== undefined) yield { kind: "job", job, events: decodeEvents(shown) };
    }
  }
}

async function* keysOf(redis: Redis, prefix: string): AsyncGenerator<DumpedRow> {
  const fields = chunksOf((from, to) => redis.zrange(`${prefix}xk`, String(from), String(to)));
  for await (const names of fields) {
    const rows = await redis.hmgetBuffer(`${prefix}k`, ...names);
    for (const [at, raw] of rows.entries()) {
      if (raw === null) continue;
      const name = names[at] ?? "";
      const bar = name.indexOf("|");
      const [id, hash, expires] = toList(unpack(raw)[0]);
      yield {
        kind: "key",
        key: {
          tenant: name.slice(0, bar),
          key: name.slice(bar + 1),
          jobId: toText(id) as JobId,
          specHash: toBytes(hash),
          expiresAt: toNumber(expires),
        },
      };
    }
  }
}

async function* auditOf(redis: Redis, prefix: string): AsyncGenerator<DumpedRow> {
  const least = Number((await redis.get(`${prefix}af`)) ?? 1);
  const last = Number((await redis.get(`${prefix}an`)) ?? 0);
  for (let from = least; from <= last; from += chunkRows) {
    const count = Math.min(chunkRows, last - from + 1);
    const sequences = Array.from({ length: count }, (_, at) => from + at);
    const rows = await redis.hmgetBuffer(`${prefix}a`, ...sequences.map(String));
    const members = sequences.map((sequence) => String(sequence).padStart(16, "0"));
    const ends = await redis.zmscore(`${prefix}xa`, ...members);
    for (const [at, raw] of rows.entries()) {
      if (raw === null) continue;
      const entry = auditEntryOf([sequences[at] ?? 0, raw]);
      yield { kind: "audit", entry, expiresAt: Number(ends[at] ?? 0) };
    }
  }
}

async function* providerEventsOf(redis: Redis, prefix: string): AsyncGenerator<DumpedRow> {
  const ends = await redis.zrange(`${prefix}xe`, "0", "-1", "WITHSCORES");
  const found: { sequence: number; name: string; expiresAt: number }[] = [];
  for (let at = 0; at < ends.length; at += 2) {
    const [sequence = "", name = ""] = (ends[at] ?? "").split("|");
    found.push({ sequence: Number(sequence), name, expiresAt: Number(ends[at + 1]) });
  }
  found.sort((one, other) => one.sequence - other.sequence);
  for (const { sequence, name, expiresAt } of found) {
    const raw = await redis.hgetBuffer(`${prefix}pe:${name}`, String(sequence));
    if (raw !== null) {
      yield { kind: "provider_event", event: eventOf([sequence, raw]), expiresAt };
    }
  }
}

async function* chunksOf(
  read: (from: number, to: number) => Promise<string[]>,
): AsyncGenerator<string[]> {
  for (let from = 0; ; from += chunkRows) {
    const chunk = await read(from, from + chunkRows - 1);
    if (chunk.length > 0) yield chunk;
    if (chunk.length < chunkRows) return;
  }
}
