import { openFarm } from "./farm.ts";
import {
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";
import { startPart } from "./part.ts";
import { hasRedis, startRedis } from "./redis.ts";

export const question: Question = {
  name: "redis-logs",
  asks: "How fast are logs stored in Redis, against adding them to a stream of the same Redis and nothing else?",
  run,
};

const bench = "redis-logs";
const ms = 1_000;
/** A record of nearly the largest size, alone in its batch; and lines of 100 bytes. */
const block = { ms, records: 1, recordBytes: 65_000 };
const lines = { ms, records: 650, recordBytes: 100 };

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  if (!hasRedis()) return [notRun(bench, "stored", "redis-server is missing")];
  await using stack = new AsyncDisposableStack();
  const redis = stack.use(await startRedis("always"));
  const client = stack.use(await startPart("client"));
  const raw = stack.use(await startPart("raw"));
  const rawAt = await raw.call("start", { isWide: true, redisPort: redis.port });
  const shared = {
    HODEI_LOG_STORE: "redis",
    HODEI_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    // A busy disk is to be measured, not to be given up.
    HODEI_REDIS_TIMEOUT_MS: "60000",
  };
  const load = { seats: 1, slots: 1, holds: true } as const;
  const sealing = await openFarm(stack, {
    ...load,
    settings: { ...shared, HODEI_REDIS_INSTANCE: "sealing" },
  });
  // So much stays in the stream that nothing is sealed while it is measured.
  const roomy = { HODEI_REDIS_INSTANCE: "roomy", HODEI_LOG_LIVE_BYTES: String(2 ** 30) };
  const live = await openFarm(stack, { ...load, settings: { ...shared, ...roomy } });
  const stored = (farm: typeof live, what: typeof block) => async () => {
    const job = { address: farm.address, count: 1, specBytes: 10, inFlight: 1 };
    await farm.sdk.call("submitMany", job);
    await farm.agents.call("held", 1);
    const { bytesPerSecond } = await farm.agents.call("push", what);
    await farm.agents.call("release");
    return { value: bytesPerSecond / 1e6 };
  };
  const samples = await takeTurns(
    [
      {
        name: "raw_xadd",
        measure: async () => {
          const upload = { address: rawAt, batchBytes: block.recordBytes, ms };
          return { value: (await client.call("upload", upload)) / 1e6 };
        },
      },
      { name: "live", measure: stored(live, block) },
      { name: "live_lines", measure: stored(live, lines) },
      { name: "sealed", measure: stored(sealing, block) },
      { name: "sealed_lines", measure: stored(sealing, lines) },
    ],
    rounds,
  );
  const line = { bench, unit: "MB/s", against: "raw_xadd" };
  const target = { of: "ratio", atLeast: 0.8 } as const;
  return [
    judge(samples, { bench, unit: "MB/s", case: "raw_xadd" }),
    judge(samples, { ...line, case: "live", target }),
    judge(samples, { ...line, case: "live_lines" }),
    judge(samples, { ...line, case: "sealed" }),
    judge(samples, { ...line, case: "sealed_lines" }),
  ];
}
