import { Redis } from "ioredis";
import { HodeiError } from "#error.ts";
import type { Logger } from "#telemetry.ts";
import { connectionOptions, type Address } from "./address.ts";
import { explain } from "./fault.ts";

/**
 * Opens a connection, which comes back by itself. Errors: `unavailable` when no server answers or lets the user in, `invalid_argument` for a URL that is
 * none.
 */
export async function connectRedis(address: Address, log?: Logger): Promise<Redis> {
  const redis = new Redis(connectionOptions(address));
  const seen = watchConnection(redis, log);
  try {
    await redis.connect();
    return redis;
  } catch (error) {
    redis.disconnect();
    if (error instanceof HodeiError) throw error;
    // The call's own error says only that the connection was closed, not why.
    throw explain(seen.error ?? error).error;
  }
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
