import type { Redis } from "ioredis";
import { defaultMaxEvents } from "#job/history.ts";
import { HodeiError } from "#error.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { accessSteps } from "./access.ts";
import { checkSchema, checkServer } from "./check.ts";
import { dispatchSteps } from "./dispatch.ts";
import { explain } from "./fault.ts";
import { followNews } from "./follow.ts";
import { jobSteps } from "./jobs.ts";
import { Batches } from "./batches.ts";
import { connectRedis } from "./connect.ts";
import { Link } from "./link.ts";
import { replicaSteps } from "./replicas.ts";
import { providerSteps } from "./providers.ts";
import { toNumber } from "./values.ts";
import { workerSteps } from "./workers.ts";

export interface RedisStoreOptions {
  /** `redis://`, `rediss://` (TLS), `redis+sentinel://host,host/name`, `rediss+sentinel://…`, `redis+cluster://host,host`, `rediss+cluster://…` or `unix:///path`. */
  readonly url: string;
  /** Whose state it is, where several share a Redis: letters, digits and inner hyphens. */
  readonly instance: string;
  /** `server`: acknowledged as the server's own settings have it. `replicated`: also once a replica has it. */
  readonly durability?: "server" | "replicated";
  /** Whether a server is taken that may lose or evict what it has acknowledged. */
  readonly allowsUnsafe?: boolean;
  /**
   * Whether an instance that another process follows is refused with `failed_precondition`: for what must have it alone, such as a copy of it or a server that does not
   * share. It is a look when the store is opened and no lock: who comes later is not kept out.
   */
  readonly refusesOthers?: boolean;
  /** PEM file of the authority that signed the server's certificate. */
  readonly caFile?: string;
  /** After this long without an answer a step is answered `unavailable`. */
  readonly commandTimeoutMs?: number;
  /** Events kept for each job. */
  readonly maxEventsPerJob?: number;
  /** How many turns a tenant takes for one of another; 1 unless named. */
  readonly tenantWeights?: Readonly<Record<string, number>>;
  readonly log?: Logger;
  /** Called when Redis came back without the last batches of changes that it had acknowledged to this process, such as after a failover. */
  readonly onLost?: (batches: number) => void;
}

const standardTimeoutMs = 1_500;
/** How long a replica may take to confirm. */
const replicaMs = 1_000;
/** Rows that one script deletes. */
const expireChunk = 200;

/**
 * Opens the state of an instance in Redis; any number of processes may. Each step is one script: done wholly or not at all, also when its answer is
 * lost, and harmless to repeat. A step whose outcome is unknown is answered `unavailable` after `commandTimeoutMs` at most; the connection comes back by itself.
 * Errors: `unavailable` when no server answers or lets the user in, `failed_precondition` when it is not safe, `invalid_argument`.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const { url, instance, caFile, log } = options;
  if (!/^[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?$/.test(instance)) {
    throw new HodeiError(
      "invalid_argument",
      `${JSON.stringify(instance)} is no name of an instance`,
    );
  }
  const commandTimeoutMs = options.commandTimeoutMs ?? standardTimeoutMs;
  const address = { url, commandTimeoutMs, ...(caFile === undefined ? {} : { caFile }) };
  const isReplicated = options.durability === "replicated";
  const confirmMs = isReplicated ? replicaMs : undefined;
  const connection = await connectRedis(address, { instance, replicaMs: confirmMs, log });
  const { redis } = connection;
  const batches = new Batches(connection, {
    instance,
    replicaMs: confirmMs,
    maxEvents: options.maxEventsPerJob ?? defaultMaxEvents,
    weights: options.tenantWeights ?? {},
  });
  try {
    const wish = { isReplicated, allowsUnsafe: options.allowsUnsafe ?? false };
    const { appendFsync, sentence } = await checkServer(redis, wish);
    log?.info({ instance, appendFsync, promise: sentence }, "redis store opened");
    await checkSchema(redis, batches.prefix);
    if (options.refusesOthers === true) {
      await refuseOthers(redis, { instance, prefix: batches.prefix });
    }
    await batches.load();
  } catch (error) {
    connection.close();
    throw error instanceof HodeiError ? error : explain(error).error;
  }
  redis.on("ready", () => void tellLost(batches, options));
  const link = new Link(batches);
  const ledBy = (term: number): Store => ({
    ...stepsOf(link.ledBy(term)),
    replicas,
    [Symbol.asyncDispose]: async () => undefined,
  });
  const replicas = { ...replicaSteps(link), ledBy };
  return {
    ...stepsOf(link),
    replicas,
    [Symbol.asyncDispose]: async () => {
      await batches.close();
      connection.close();
    },
  };
}

function stepsOf(link: Link): Omit<Store, typeof Symbol.asyncDispose> {
  return {
    ...jobSteps(link),
    ...dispatchSteps(link),
    ...workerSteps(link),
    ...accessSteps(link),
    ...providerSteps(link),
    expire: async (now, limit) => {
      let done = 0;
      while (done < limit) {
        const chunk = Math.min(expireChunk, limit - done);
        const gone = toNumber(await link.step("expire", now, chunk));
        done += gone;
        if (gone < chunk) break;
      }
      while ((await link.discardSpecs(expireChunk)) === expireChunk);
      return done;
    },
    follow: (listener) => followNews(link.redis, `${link.prefix}news`, listener),
  };
}

/** Whoever uses an instance follows its news; a server that was killed is gone with its connection. Error: `failed_precondition`. */
export async function refuseOthers(
  redis: Redis,
  { instance, prefix }: { readonly instance: string; readonly prefix: string },
): Promise<void> {
  const followers = await redis.pubsub("NUMSUB", `${prefix}news`);
  if (Number(followers[1]) === 0) return;
  const hint = "stop the server that uses it first";
  throw new HodeiError("failed_precondition", `instance ${instance} is in use`, { hint });
}

async function tellLost(
  batches: Batches,
  { instance, log, onLost }: Pick<RedisStoreOptions, "instance" | "log" | "onLost">,
): Promise<void> {
  const lost = await batches.countLost().catch(() => 0); // Asked again with the next connection.
  if (lost === 0) return;
  log?.error({ instance, lost }, "redis has lost changes that it had acknowledged");
  onLost?.(lost);
}
