import type { Redis } from "ioredis";
import { randomBytes } from "node:crypto";

/** A spec up to here stands with its job; a larger one has a key of its own, in any slot of a cluster. */
const inlineBytes = 2_048;

/** A large spec, which is stored just before its job. */
export interface LargeSpec {
  readonly ref: string;
  readonly bytes: Uint8Array;
}

export function largeSpecOf(spec: Uint8Array): LargeSpec | undefined {
  if (spec.length <= inlineBytes) return undefined;
  return { ref: randomBytes(12).toString("base64url"), bytes: spec };
}

export function specKey(instance: string, ref: string): string {
  return `hodei:spec:${instance}:${ref}`;
}

/** The large specs that are there, by reference. */
export async function readSpecs(
  redis: Redis,
  instance: string,
  refs: readonly string[],
): Promise<ReadonlyMap<string, Uint8Array>> {
  if (refs.length === 0) return new Map();
  const found = await redis.mgetBuffer(...refs.map((ref) => specKey(instance, ref)));
  return new Map(
    refs.flatMap((ref, at) => {
      const bytes = found[at];
      return bytes ? [[ref, new Uint8Array(bytes)]] : [];
    }),
  );
}
