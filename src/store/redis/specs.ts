import type { Cluster, Redis } from "ioredis";
import { randomBytes } from "node:crypto";
import { HodeiError } from "#error.ts";

/** A spec up to here stands with its job; a larger one has a key of its own, in any slot of a cluster. */
const inlineBytes = 2_048;
/** Keys that are deleted at a time. */
const dropChunk = 100;

/** A large spec, which is stored just before its job. */
export interface LargeSpec {
  readonly ref: string;
  readonly bytes: Uint8Array;
}

export function largeSpecOf(spec: Uint8Array): LargeSpec | undefined {
  if (spec.length <= inlineBytes) return undefined;
  return { ref: randomBytes(12).toString("base64url"), bytes: spec };
}

function specKey(instance: string, ref: string): string {
  return `hodei:spec:${instance}:${ref}`;
}

/** Where the large specs of an instance are. */
export interface Shelf {
  /** Whether they may be on other servers than the rest, so that no transaction has both. */
  readonly isApart: boolean;
  put(spec: LargeSpec): Promise<unknown>;
  /** Those that are there, by reference. */
  read(refs: readonly string[]): Promise<ReadonlyMap<string, Uint8Array>>;
  drop(refs: readonly string[]): Promise<void>;
  /** Deletes all. */
  clear(): Promise<void>;
  close(): void;
}

/** Beside the rest, on the same connection. */
export function ownShelf(redis: Redis, instance: string): Shelf {
  const keysOf = (refs: readonly string[]) => refs.map((ref) => specKey(instance, ref));
  return {
    isApart: false,
    put: ({ ref, bytes }) => redis.set(specKey(instance, ref), Buffer.from(bytes)),
    read: async (refs) => {
      if (refs.length === 0) return new Map();
      return byRef(refs, await redis.mgetBuffer(...keysOf(refs)));
    },
    drop: async (refs) => {
      if (refs.length > 0) await redis.unlink(...keysOf(refs));
    },
    clear: () => clearKeys(redis, specKey(instance, "")),
    close: () => undefined,
  };
}

/** Over all the servers of a cluster. `replicaMs`: how long a replica may take to confirm; undefined: none has to. */
export function spreadShelf(
  cluster: Cluster,
  instance: string,
  replicaMs: number | undefined,
): Shelf {
  const drop = async (keys: readonly string[]) => {
    for (let from = 0; from < keys.length; from += dropChunk) {
      await Promise.all(keys.slice(from, from + dropChunk).map((key) => cluster.unlink(key)));
    }
  };
  return {
    isApart: true,
    put: async ({ ref, bytes }) => {
      const writing = cluster.pipeline().set(specKey(instance, ref), Buffer.from(bytes));
      if (replicaMs !== undefined) writing.wait(1, replicaMs);
      const [said, confirmed] = (await writing.exec()) ?? [];
      const failed = said?.[0] ?? confirmed?.[0];
      if (failed) throw failed;
      if (replicaMs !== undefined && Number(confirmed?.[1]) < 1) {
        const text = "no replica of Redis confirmed a large spec; nothing was changed";
        throw new HodeiError("unavailable", text);
      }
    },
    read: async (refs) => {
      const all = refs.map((ref) => cluster.getBuffer(specKey(instance, ref)));
      return byRef(refs, await Promise.all(all));
    },
    drop: (refs) => drop(refs.map((ref) => specKey(instance, ref))),
    clear: async () => {
      for (const node of cluster.nodes("master")) {
        const match = matching(specKey(instance, ""));
        for await (const keys of node.scanStream({ match, count: 1_000 })) {
          await drop(keys as string[]);
        }
      }
    },
    close: () => cluster.disconnect(),
  };
}

/** Deletes the keys with a prefix that are on this server. */
export async function clearKeys(redis: Redis, prefix: string): Promise<void> {
  for await (const keys of redis.scanStream({ match: matching(prefix), count: 1_000 })) {
    const found = keys as string[];
    if (found.length > 0) await redis.unlink(...found);
  }
}

function matching(prefix: string): string {
  return `${prefix.replaceAll(/[[\]*?\\]/g, String.raw`\$&`)}*`;
}

function byRef(
  refs: readonly string[],
  found: readonly (Buffer | null)[],
): ReadonlyMap<string, Uint8Array> {
  return new Map(
    refs.flatMap((ref, at) => {
      const bytes = found[at];
      return bytes ? [[ref, new Uint8Array(bytes)]] : [];
    }),
  );
}
