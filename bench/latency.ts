import { type Farm, openFarm } from "./farm.ts";
import {
  type Case,
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  type Sample,
  takeTurns,
} from "./harness.ts";
import { startPart } from "./part.ts";
import { hasRedis, startRedis } from "./redis.ts";

export const question: Question = {
  name: "latency",
  asks: "How long does a job take from submit to start, at 330 jobs a second, against BullMQ that fsyncs always?",
  run,
};

const bench = "latency";
const load = { perSecond: 330, count: 660 };

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const cases = [
    caseOf("hodei", await openFarm(stack, { seats: 1, slots: 50 })),
    caseOf("hodei_500_workers", await openFarm(stack, { seats: 500, slots: 1 })),
  ];
  for (const fsync of hasRedis() ? (["always", "everysec"] as const) : []) {
    const redis = stack.use(await startRedis(fsync));
    const producer = stack.use(await startPart("bull"));
    const worker = stack.use(await startPart("bull"));
    const at = { port: redis.port, queue: "latency" };
    await worker.call("work", { ...at, slots: 50, kind: "noop" });
    cases.push({
      name: `bullmq_${fsync}`,
      measure: async () => {
        const before = await worker.call("count");
        await producer.call("paced", { ...load, ...at });
        await worker.call("finished", before + load.count);
        return sampleOf(await worker.call("starts"));
      },
    });
  }
  const samples = await takeTurns(cases, rounds);
  const line = { bench, unit: "ms (p50)" };
  const p99 = judge(samples, {
    ...line,
    case: "hodei",
    unit: "ms",
    figure: "p99_ms",
    target: { of: "value", atMost: 10 },
  });
  const many = judge(samples, { ...line, case: "hodei_500_workers", against: "hodei" });
  if (!hasRedis())
    return [
      judge(samples, { ...line, case: "hodei" }),
      p99,
      many,
      notRun(bench, "bullmq_always", "redis-server is missing"),
    ];
  return [
    judge(samples, { ...line, case: "bullmq_everysec" }),
    judge(samples, { ...line, case: "bullmq_always" }),
    judge(samples, {
      ...line,
      case: "hodei",
      against: "bullmq_always",
      target: { of: "ratio", atMost: 1 },
    }),
    p99,
    many,
  ];
}

function caseOf(name: string, { sdk, agents, address }: Farm): Case {
  return {
    name,
    measure: async () => {
      const before = await agents.call("count");
      await sdk.call("paced", { ...load, address });
      await agents.call("finished", before + load.count);
      return sampleOf(await agents.call("starts"));
    },
  };
}

function sampleOf(starts: { readonly p50Ms: number; readonly p99Ms: number }): Sample {
  return { value: starts.p50Ms, more: { p99_ms: starts.p99Ms } };
}
