import { startAgent } from "./agent-process.ts";
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
  name: "commands",
  asks: "How many `sh -c 'echo hello'` run in a second on 8 warm slots, against starting them without any of us?",
  run,
};

const bench = "commands";
const count = 600;
const slots = 8;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const spawner = stack.use(await startPart("spawn"));
  const ours = await openOurs(stack);
  const cases = [
    {
      name: "raw_spawn",
      measure: async () => {
        const { perSecond, p99Ms } = await spawner.call("run", { inFlight: slots, ms: 1_000 });
        return { value: perSecond, more: { p99_ms: p99Ms } };
      },
    },
    { name: "hodei", measure: async () => ({ value: await ours() }) },
  ];
  if (hasRedis()) {
    const bull = await openBull(stack);
    cases.push({ name: "bullmq_everysec", measure: async () => ({ value: await bull() }) });
  }
  const samples = await takeTurns(cases, rounds);
  const line = { bench, unit: "jobs/s" };
  return [
    judge(samples, { ...line, case: "raw_spawn" }),
    judge(samples, {
      ...line,
      case: "hodei",
      against: "raw_spawn",
      target: { of: "ratio", atLeast: 0.72 },
    }),
    ...(hasRedis()
      ? [
          judge(samples, { ...line, case: "bullmq_everysec", against: "raw_spawn" }),
          judge(samples, {
            ...line,
            case: "hodei",
            against: "bullmq_everysec",
            target: { of: "ratio", atLeast: 1.05 },
          }),
        ]
      : [notRun(bench, "bullmq_everysec", "redis-server is missing")]),
  ];
}

/** The real agent, warm, with 8 slots. */
async function openOurs(stack: AsyncDisposableStack): Promise<() => Promise<number>> {
  const server = stack.use(await startPart("server"));
  const sdk = stack.use(await startPart("sdk"));
  const { address, seats } = await server.call("start", { seats: 1, slots });
  for (const seat of seats) stack.use(await startAgent(seat, { address, slots }));
  const command = ["sh", "-c", "echo hello"];
  return async () => {
    const elapsedMs = await sdk.call("runMany", { address, count, command, inFlight: 64 });
    return (count / elapsedMs) * 1000;
  };
}

async function openBull(stack: AsyncDisposableStack): Promise<() => Promise<number>> {
  const redis = stack.use(await startRedis("everysec"));
  const producer = stack.use(await startPart("bull"));
  const worker = stack.use(await startPart("bull"));
  const at = { port: redis.port, queue: "commands" };
  await worker.call("work", { ...at, slots, kind: "echo" });
  return async () => {
    const before = await worker.call("count");
    const startedAt = performance.now();
    const fill = producer.call("submitMany", { ...at, count, specBytes: 50, inFlight: 4 * slots });
    await Promise.all([fill, worker.call("finished", before + count)]);
    return (count / (performance.now() - startedAt)) * 1000;
  };
}
