import { z } from "zod";
import { choice, flag, text, whole } from "./setting.ts";

// Where state is kept: in a file of this server's own, or in a Redis.

export const redisShape = {
  store: choice(
    { values: ["embedded", "redis"], standard: "embedded" },
    "Where jobs are kept: `embedded` in the data directory, or `redis`, which any number of servers may share",
  ),
  redisUrl: text(
    "redis://127.0.0.1:6379",
    "The Redis: `redis://`, `rediss://` (TLS), `redis+sentinel://host,host/name`, `rediss+sentinel://host,host/name`, `redis+cluster://host,host`, `rediss+cluster://host,host` or `unix:///path`; with `user:password@` where it asks for them",
  ),
  redisInstance: instance(
    "default",
    "Whose state it is, where several installations share a Redis; servers of the same one are its replicas",
  ),
  redisDurability: choice(
    { values: ["server", "replicated"], standard: "server" },
    "When a step is acknowledged: `server` as Redis' own `appendfsync` has it (`always` is advised), `replicated` also once a replica has it",
  ),
  redisCaFile: text(
    "",
    "PEM file of the authority that signed the certificate of Redis; empty: those of the system",
  ),
  redisTimeoutMs: whole(
    { least: 100, most: 60_000, standard: 1_500 },
    "After how long without an answer of Redis a call is answered UNAVAILABLE",
  ),
  replicaLeaseMs: whole(
    { least: 500, most: 60_000, standard: 5_000 },
    "Replicas: after how long without a word from the leading one another takes over",
  ),
  redisUnsafeAllowed: flag(
    false,
    "Whether a Redis is taken that may lose what was acknowledged: without append-only file, or one that evicts",
  ),
};

function instance(standard: string, description: string) {
  return z
    .string()
    .transform((value) => value.trim())
    .refine((value) => /^[A-Za-z0-9]([-A-Za-z0-9]{0,62}[A-Za-z0-9])?$/.test(value), {
      error: "has to be letters, digits and inner hyphens, at most 64",
    })
    .default(standard)
    .describe(description);
}
