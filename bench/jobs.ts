import {
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  type Sample,
  takeTurns,
} from "./harness.ts";
import { startPart } from "./part.ts";
import { type Farm, openFarm } from "./farm.ts";
import { hasRedis, startRedis } from "./redis.ts";

export const question: Question = {
  name: "jobs",
  asks: "How many jobs that do nothing go from submit to acknowledged result in a second, against BullMQ?",
  run,
};

const specBytes = 1_000;
const bench = "jobs";

/** How a system is asked to run a load of jobs from end to end, or to work off a queue that is already full. */
interface System {
  readonly name: string;
  /** Jobs of 50 slots, of one slot, and of the full queue. */
  readonly counts: { readonly c50: number; readonly c1: number; readonly drain: number };
  flow(slots: number, count: number): Promise<number>;
  drain(count: number): Promise<number>;
}

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const systems = [await openOurs(stack)];
  if (hasRedis()) {
    systems.push(await openBull(stack, "everysec"), await openBull(stack, "always"));
  }
  const cases = systems.flatMap((system) => [
    { name: `${system.name}_c50`, measure: () => sample(system.flow(50, system.counts.c50)) },
    { name: `${system.name}_c1`, measure: () => sample(system.flow(1, system.counts.c1)) },
    { name: `${system.name}_drain`, measure: () => sample(system.drain(system.counts.drain)) },
  ]);
  const samples = await takeTurns(cases, rounds);
  const targets = [
    { of: "c50", everysec: 1.5, always: 2 },
    { of: "c1", everysec: 1.1, always: 2.2 },
    { of: "drain", everysec: 2.5, always: undefined },
  ] as const;
  return targets.flatMap((target) => {
    const line = { bench, unit: "jobs/s" };
    const own = { ...line, case: `hodei_${target.of}` };
    if (!hasRedis())
      return [judge(samples, own), notRun(bench, `bullmq_${target.of}`, "redis-server is missing")];
    return (["everysec", "always"] as const).flatMap((kind) => {
      const atLeast = target[kind];
      const other = `bullmq_${kind}_${target.of}`;
      return [
        judge(samples, { ...line, case: other }),
        judge(samples, {
          ...own,
          against: other,
          ...(atLeast === undefined ? {} : { target: { of: "ratio", atLeast } }),
        }),
      ];
    });
  });
}

async function sample(value: Promise<number>): Promise<Sample> {
  return { value: await value };
}

/** A server for the worker of 50 slots and one for that of one slot, so that neither takes the other's jobs. */
async function openOurs(stack: AsyncDisposableStack): Promise<System> {
  const farms = new Map([
    [50, await openFarm(stack, { seats: 1, slots: 50 })],
    [1, await openFarm(stack, { seats: 1, slots: 1 })],
  ]);
  const farmOf = (slots: number): Farm => farms.get(slots) ?? raise(`no farm of ${slots} slots`);
  return {
    name: "hodei",
    counts: { c50: 10_000, c1: 1_500, drain: 10_000 },
    async flow(slots, count) {
      const { sdk, agents, address } = farmOf(slots);
      const before = await agents.call("count");
      const startedAt = performance.now();
      await Promise.all([
        sdk.call("submitMany", { address, count, specBytes, inFlight: 256 }),
        agents.call("finished", before + count),
      ]);
      return (count / (performance.now() - startedAt)) * 1000;
    },
    async drain(count) {
      const { sdk, agents, address } = farmOf(50);
      await agents.call("detach");
      await sdk.call("submitMany", { address, count, specBytes, inFlight: 1_000 });
      const before = await agents.call("count");
      const startedAt = performance.now();
      await agents.call("attach");
      await agents.call("finished", before + count);
      return (count / (performance.now() - startedAt)) * 1000;
    },
  };
}

async function openBull(
  stack: AsyncDisposableStack,
  fsync: "everysec" | "always",
): Promise<System> {
  const redis = stack.use(await startRedis(fsync));
  const producer = stack.use(await startPart("bull"));
  const worker = stack.use(await startPart("bull"));
  const at = { port: redis.port, queue: "jobs" };
  const worked = async (
    slots: number,
    count: number,
    fill: () => Promise<unknown>,
  ): Promise<void> => {
    const before = await worker.call("count");
    await worker.call("work", { ...at, slots, kind: "noop" });
    await Promise.all([fill(), worker.call("finished", before + count)]);
  };
  const timed = async (count: number, load: Promise<unknown>): Promise<number> => {
    const startedAt = performance.now();
    await load;
    const rate = (count / (performance.now() - startedAt)) * 1000;
    await worker.call("rest");
    return rate;
  };
  return {
    name: `bullmq_${fsync}`,
    counts: { c50: 5_000, c1: 1_000, drain: 6_000 },
    flow(slots, count) {
      const fill = () => producer.call("submitMany", { ...at, count, specBytes, inFlight: 256 });
      return timed(count, worked(slots, count, fill));
    },
    async drain(count) {
      await producer.call("addMany", { ...at, count, specBytes });
      return timed(
        count,
        worked(50, count, () => Promise.resolve()),
      );
    },
  };
}

function raise(why: string): never {
  throw new Error(why);
}
