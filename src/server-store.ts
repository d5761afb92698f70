import { join } from "node:path";
import type { Config } from "#config.ts";
import { openSqliteStore } from "#store/sqlite/open.ts";
import type { Store } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { keepsLogsInRedis } from "./server-logs.ts";

export interface StoreGround {
  readonly directory: string;
  readonly log: Logger;
  readonly onBroken: (error: Error) => void;
}

/** Opens the store of the configuration; `parts` closes it. Errors: `failed_precondition`, `invalid_argument`, `unavailable`. */
export async function openStore(
  config: Config,
  { directory, log, onBroken }: StoreGround,
  parts: AsyncDisposableStack,
): Promise<Store> {
  const { tenantWeights } = config;
  if (config.store === "embedded") {
    const path = join(directory, "hodei.db");
    return parts.use(await openSqliteStore({ path, tenantWeights, onBroken }));
  }
  // Redis' client is loaded for those who have one.
  const { openRedisStore } = await import("#store/redis/open.ts");
  const store = parts.use(
    await openRedisStore({
      url: config.redisUrl,
      instance: config.redisInstance,
      durability: config.redisDurability,
      allowsUnsafe: config.redisUnsafeAllowed,
      commandTimeoutMs: config.redisTimeoutMs,
      // Replicas of one that keeps logs in files could not read them.
      refusesOthers: !keepsLogsInRedis(config),
      tenantWeights,
      log,
      ...(config.redisCaFile === "" ? {} : { caFile: config.redisCaFile }),
    }),
  );
  const following = await store.follow?.(() => undefined);
  if (following !== undefined) parts.use(following);
  return store;
}
