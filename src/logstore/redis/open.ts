import { HodeiError } from "#error.ts";
import type { LogStore } from "#logstore/logstore.ts";
import type { ObjectStore } from "#logstore/object-store.ts";
import { Appender } from "./append.ts";
import { Keeper } from "./keeper.ts";
import { Ledger } from "./ledger.ts";
import { LogLink } from "./link.ts";
import { News } from "./news.ts";
import { Notes } from "./notes.ts";
import type { OpenLog } from "./open-log.ts";
import { Room } from "./room.ts";
import { SealQueue } from "./seal-queue.ts";
import { liveBytes, Sealer, type SealStep } from "./seal.ts";
import { Segments } from "./segments.ts";
import { RedisLogStore } from "./store.ts";
import { StreamReader } from "./stream.ts";

/** How to open a log store in Redis. */
export interface RedisLogStoreOptions {
  /** `redis://`, `rediss://` (TLS), `redis+sentinel://host,host/name`, `rediss+sentinel://…`, `redis+cluster://host,host`, `rediss+cluster://…` or `unix:///path`. */
  readonly url: string;
  /** Whose logs they are, where several share a Redis. */
  readonly instance: string;
  /** `server`: acknowledged as the server's own settings have it. `replicated`: also once a replica has it. */
  readonly durability?: "server" | "replicated";
  /** Whether a server is taken that may lose or evict what it has acknowledged. */
  readonly allowsUnsafe?: boolean;
  /** PEM file of the authority that signed the server's certificate. */
  readonly caFile?: string;
  /** After this long without an answer a call is answered `unavailable`. */
  readonly commandTimeoutMs?: number;
  /** Bytes that one attempt may keep: the first half of it and the last half. */
  readonly quotaBytesPerAttempt: number;
  /** When the logs of a tenant have more bytes than this, its logs keep their first and last bytes only; 0: no bound. */
  readonly quotaBytesPerTenant?: number;
  /** Bytes of one log in its stream; the older ones are sealed. */
  readonly liveBytesPerLog?: number;
  /** Bytes of all logs in Redis; when they are more, the logs that fill it wait. */
  readonly liveBytes?: number;
  /** Where sealed segments go; without, they stay in Redis, compressed. It is closed with the store. */
  readonly objects?: ObjectStore | undefined;
  /** How long after its end a log goes from its stream into a segment. */
  readonly sealDelayMs?: number;
  /** After how long somebody who began to seal a log is believed to be dead. */
  readonly sealClaimMs?: number;
  /** How long an append waits for room. */
  readonly roomWaitMs?: number;
  readonly now?: () => number;
  readonly log?: { warn(facts: object, message: string): void };
  /** For tests that end the process between two steps of sealing. */
  readonly onSealStep?: (step: SealStep) => Promise<void>;
}

const mebibyte = 1024 * 1024;
const standardTimeoutMs = 1_500;
/** What a log keeps of a tenant that has more than its quota. */
const leastQuotaBytes = 256 * 1024;

/**
 * Opens the logs of an instance in Redis; any number of processes may. A batch is acknowledged once Redis has it. What is older than the live tail is in
 * segments, in the archive if there is one. A call whose outcome is unknown is answered `unavailable` after `commandTimeoutMs` at most; the connection comes
 * back by itself. Errors: `unavailable` when no server answers, `failed_precondition` when it is not safe,
 * `invalid_argument`.
 */
export async function openRedisLogStore(options: RedisLogStoreOptions): Promise<LogStore> {
  const { instance, url, caFile, objects } = options;
  if (!/^[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?$/.test(instance)) {
    const text = `${JSON.stringify(instance)} is no name of an instance`;
    throw new HodeiError("invalid_argument", text);
  }
  const isReplicated = options.durability === "replicated";
  const link = new LogLink({
    url,
    instance,
    commandTimeoutMs: options.commandTimeoutMs ?? standardTimeoutMs,
    isReplicated,
    ...(caFile === undefined ? {} : { caFile }),
  });
  try {
    await link.connect({ isReplicated, allowsUnsafe: options.allowsUnsafe ?? false });
  } catch (error) {
    await link[Symbol.asyncDispose]();
    throw error;
  }
  const store = assemble(options, link, new Segments(link, objects));
  await store.keeper.count();
  return new RedisLogStore({ ...store, link, objects });
}

function assemble(options: RedisLogStoreOptions, link: LogLink, segments: Segments) {
  const log = options.log ?? { warn: () => undefined };
  const now = options.now ?? Date.now;
  const { quotaBytesPerAttempt, quotaBytesPerTenant = 0 } = options;
  const ledger = new Ledger(link);
  const quotaBytesOf = async (tenant: string): Promise<number> => {
    if (quotaBytesPerTenant === 0 || tenant === "") return quotaBytesPerAttempt;
    const isOver = (await ledger.tenantBytes(tenant)) > quotaBytesPerTenant;
    return isOver ? Math.min(leastQuotaBytes, quotaBytesPerAttempt) : quotaBytesPerAttempt;
  };
  // A quota that is smaller than the live tail bounds that as well.
  const liveBytesPerLog = Math.min(
    options.liveBytesPerLog ?? 4 * mebibyte,
    Math.ceil(quotaBytesPerAttempt / 4),
  );
  const room = new Room({
    liveBytesPerLog,
    liveBytes: options.liveBytes ?? 1024 * mebibyte,
    waitMs: options.roomWaitMs ?? 5_000,
    seal: ({ attempt }) => queue.add(attempt, liveBytesPerLog / 2),
  });
  const onAppended = (open: OpenLog, bytes: number): void => {
    ledger.changed(open);
    room.added(bytes);
    if (open.liveBytes > liveBytesPerLog) queue.add(open.attempt, liveBytesPerLog / 2);
  };
  const appender = new Appender({ link, room, onAppended, onOpened: () => keeper.opened() });
  const sealer = new Sealer({
    link,
    segments,
    quotaBytesOf,
    segmentBytes: 4 * mebibyte,
    claimMs: options.sealClaimMs ?? 10_000,
    onStep: options.onSealStep,
  });
  const queue = new SealQueue({
    sealer,
    log,
    onSealed: async (attempt, view) => {
      appender.logs.get(attempt)?.settle(view);
      room.settle();
      await ledger.sealed(attempt, view);
      if (view.end === undefined || liveBytes(view) > 0) return;
      await link.write("ZREM", link.shared.ended, attempt);
      await link.write("SREM", link.shared.open, attempt);
    },
  });
  const sealDelayMs = options.sealDelayMs ?? 5 * 60_000;
  const notes = new Notes(link);
  const keeper = new Keeper({ link, notes, ledger, room, appender, queue, sealDelayMs, now, log });
  const news = new News(link);
  const streams = new StreamReader(link);
  return { news, notes, segments, streams, appender, ledger, queue, keeper, log, now };
}
