import { Cluster, Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import type { Logger } from "#telemetry.ts";
import { clusterOptions, connectionOptions, pauseOf, type Address } from "./address.ts";
import { ownerConnector } from "./cluster.ts";
import { explain } from "./fault.ts";
import { ownShelf, spreadShelf, type Shelf } from "./specs.ts";

/** How often the servers of a cluster are asked who has what. */
const slotsRefreshMs = 5_000;

export interface Place {
  readonly instance: string;
  /** How long a replica may take to confirm a large spec; undefined: none has to. */
  readonly replicaMs?: number | undefined;
  readonly log?: Logger | undefined;
}

/** The ways to an instance. */
export interface Connection {
  readonly redis: Redis;
  readonly shelf: Shelf;
  close(): void;
}

/** All keys of one instance, but for large specs, are in one slot of a cluster. */
export function prefixOf(instance: string): string {
  return `hodei:{${instance}}:`;
}

/**
 * Opens the connections to an instance, which come back by themselves. Errors: `unavailable` when no server answers or lets the user in, `invalid_argument` for a
 * URL that is none.
 */
export async function connectRedis(address: Address, place: Place): Promise<Connection> {
  const { instance, replicaMs, log } = place;
  const found = clusterOptions(address);
  if (found === undefined) {
    const redis = await connectOne(new Redis(connectionOptions(address)), address, log);
    return { redis, shelf: ownShelf(redis, instance), close: () => redis.disconnect() };
  }
  const { nodes, options } = found;
  const Connector = ownerConnector(nodes, prefixOf(instance));
  const redis = await connectOne(new Redis({ ...options, Connector }), address, log);
  const { retryStrategy: _, enableOfflineQueue: __, ...each } = options;
  const cluster = new Cluster([...nodes], {
    redisOptions: each,
    enableOfflineQueue: false,
    lazyConnect: true,
    clusterRetryStrategy: pauseOf,
    slotsRefreshInterval: slotsRefreshMs,
    ...(options.tls === undefined ? {} : { dnsLookup: (host, done) => done(null, host) }),
  });
  cluster.on("error", () => undefined); // Each command says it itself.
  const close = () => {
    cluster.disconnect();
    redis.disconnect();
  };
  try {
    await cluster.connect();
  } catch (error) {
    close();
    throw explain(error).error;
  }
  return { redis, shelf: spreadShelf(cluster, instance, replicaMs), close };
}

async function connectOne(redis: Redis, { url }: Address, log: Logger | undefined): Promise<Redis> {
  const seen = watchConnection(redis, log);
  try {
    await redis.connect();
    return redis;
  } catch (error) {
    redis.disconnect();
    if (error instanceof HodeiError) throw error;
    // The call's own error says only that the connection was closed, not why.
    const { error: explained, isStalled } = explain(seen.error ?? error);
    if (!isStalled) throw explained;
    throw new HodeiError("unavailable", `no Redis answers at ${withoutSecrets(url)}`, {
      cause: explained,
      hint: "HODEI_REDIS_URL says where it is",
    });
  }
}

function withoutSecrets(url: string): string {
  return url.replace(/\/\/.*@/, "//").replace(/\?.*$/, "");
}

/** Says when the connection goes and comes, not each try. */
function watchConnection(redis: Redis, log: Logger | undefined): { readonly error?: Error } {
  const seen: { error?: Error } = {};
  let isUp = false;
  redis.on("error", (error: Error) => {
    seen.error = error;
  });
  redis.on("ready", () => {
    if (!isUp && seen.error !== undefined) log?.info({}, "redis is back");
    isUp = true;
  });
  redis.on("close", () => {
    if (isUp) log?.warn({ err: seen.error }, "connection to redis was lost");
    isUp = false;
  });
  return seen;
}
