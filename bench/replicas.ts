import {
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  type Sample,
  readCpuMicros,
  takeTurns,
} from "./harness.ts";
import { type Part, type Parts, startPart } from "./part.ts";
import { hasRedis, type Redis, startRedis } from "./redis.ts";

export const question: Question = {
  name: "replicas",
  asks: "How many jobs that do nothing do one, two and three servers take from submit to result over one Redis, against BullMQ on the same Redis?",
  run,
};

const bench = "replicas";
const specBytes = 1_000;
/** Warm-ups are long: a server that has just been started, like any other program, is being compiled for its first thousands of jobs. */
const counts = { warmUp: 9_000, flow: 12_000, submit: 30_000 };
/** Agents, which are spread over the servers, and jobs that each has at a time. */
const load = { agents: 6, slots: 10, inFlight: 240 };

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  if (!hasRedis()) return [notRun(bench, "hodei", "redis-server is missing")];
  await using redis = await startRedis("always");
  let instances = 0;
  const settings = () => ({
    HODEI_STORE: "redis",
    HODEI_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
    HODEI_REDIS_INSTANCE: `bench-${++instances}`,
  });
  const samples = await takeTurns(
    [
      { name: "bullmq_flow", measure: () => bullFlow(redis) },
      { name: "hodei_1", measure: () => flow(redis, 1, settings()) },
      { name: "hodei_2", measure: () => flow(redis, 2, settings()) },
      { name: "hodei_3", measure: () => flow(redis, 3, settings()) },
      { name: "bullmq_submit", measure: () => bullSubmit(redis) },
      { name: "hodei_submit", measure: () => submit(redis, settings()) },
    ],
    rounds,
  );
  const line = { bench, unit: "jobs/s" };
  const target = { of: "ratio", atLeast: 1 } as const;
  const used = { bench, unit: "us", figure: "cpu_us" };
  return [
    judge(samples, { ...line, case: "bullmq_flow" }),
    judge(samples, { ...line, case: "hodei_1", against: "bullmq_flow", target }),
    judge(samples, { ...used, case: "hodei_1", against: "bullmq_flow" }),
    judge(samples, { ...line, case: "hodei_2", against: "hodei_1" }),
    judge(samples, { ...line, case: "hodei_3", against: "hodei_1" }),
    judge(samples, { ...line, case: "bullmq_submit" }),
    judge(samples, { ...line, case: "hodei_submit", against: "bullmq_submit", target }),
    judge(samples, { ...used, case: "hodei_submit", against: "bullmq_submit" }),
  ];
}

type Settings = Readonly<Record<string, string>>;

/** From submit to acknowledged result. Each server has its share of the submits and of the agents; there are as many of both whatever the number of servers. */
async function flow(redis: Redis, servers: number, settings: Settings): Promise<Sample> {
  await using stack = new AsyncDisposableStack();
  const { sdk, parts, addresses, seats } = await openServers(stack, { servers, settings });
  const agents = stack.use(await startPart("agents"));
  for (const [at, address] of addresses.entries()) {
    const own = seats.filter((_, seat) => seat % servers === at);
    await agents.call("connect", { address, seats: own, slots: load.slots, ends: true });
  }
  const work = async (count: number): Promise<void> => {
    const before = await agents.call("count");
    const each = count / servers;
    await Promise.all([
      agents.call("finished", before + count),
      ...addresses.map((address) =>
        sdk.call("submitMany", {
          address,
          count: each,
          specBytes,
          inFlight: load.inFlight / servers,
        }),
      ),
    ]);
  };
  await work(Math.ceil(counts.warmUp / servers) * servers);
  return await measure({ redis, parts: [sdk, ...parts, agents], count: counts.flow }, work);
}

async function submit(redis: Redis, settings: Settings): Promise<Sample> {
  await using stack = new AsyncDisposableStack();
  const { sdk, parts, addresses } = await openServers(stack, { servers: 1, settings });
  const [address = ""] = addresses;
  const add = (count: number) =>
    sdk.call("submitMany", { address, count, specBytes, inFlight: load.inFlight });
  await add(counts.warmUp);
  return await measure({ redis, parts: [sdk, ...parts], count: counts.submit }, add);
}

async function openServers(
  stack: AsyncDisposableStack,
  { servers, settings }: { readonly servers: number; readonly settings: Settings },
) {
  const sdk = stack.use(await startPart("sdk"));
  const parts: Part<Parts["server"]>[] = [];
  for (let at = 0; at < servers; at++) parts.push(stack.use(await startPart("server")));
  const addresses: string[] = [];
  const seats = [];
  for (const [at, part] of parts.entries()) {
    // The first one seats the agents of all.
    const own = at === 0 ? { seats: load.agents } : {};
    const started = await part.call("start", { ...own, slots: load.slots, settings });
    addresses.push(started.address);
    seats.push(...started.seats);
  }
  return { sdk, parts, addresses, seats };
}

/** As many workers with as many slots as ours. */
async function bullFlow(redis: Redis): Promise<Sample> {
  await using producer = await startPart("bull");
  await using worker = await startPart("bull");
  const at = { port: redis.port, queue: "flow" };
  await worker.call("work", { ...at, slots: load.slots, workers: load.agents, kind: "noop" });
  const work = async (count: number): Promise<void> => {
    const before = await worker.call("count");
    await Promise.all([
      worker.call("finished", before + count),
      producer.call("submitMany", { ...at, count, specBytes, inFlight: load.inFlight }),
    ]);
  };
  await work(counts.warmUp);
  const sample = await measure({ redis, parts: [producer, worker], count: counts.flow }, work);
  await worker.call("rest");
  return sample;
}

async function bullSubmit(redis: Redis): Promise<Sample> {
  await using producer = await startPart("bull");
  const at = { port: redis.port, queue: "submits" };
  const { inFlight } = load;
  const add = (count: number) => producer.call("submitMany", { ...at, count, specBytes, inFlight });
  await add(counts.warmUp);
  return await measure({ redis, parts: [producer], count: counts.submit }, add);
}

interface Load {
  readonly redis: Redis;
  readonly parts: readonly Pick<Part<Parts["server"]>, "usage">[];
  readonly count: number;
}

/** Jobs per second, and the processor time of Redis and the parts for each, on which others of the machine have less of a say. */
async function measure(
  { redis, parts, count }: Load,
  step: (count: number) => Promise<unknown>,
): Promise<Sample> {
  const used = async () => {
    const each = await Promise.all(parts.map((part) => part.usage()));
    return each.reduce((sum, { cpuMicros }) => sum + cpuMicros, await readCpuMicros(redis.pid));
  };
  const before = await used();
  const startedAt = performance.now();
  await step(count);
  const value = (count / (performance.now() - startedAt)) * 1_000;
  return { value, more: { cpu_us: ((await used()) - before) / count } };
}
