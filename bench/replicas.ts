import {
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  type Sample,
  takeTurns,
} from "./harness.ts";
import { type Part, type Parts, startPart } from "./part.ts";
import { hasRedis, startRedis } from "./redis.ts";

export const question: Question = {
  name: "replicas",
  asks: "How many jobs that do nothing do one, two and three servers take from submit to result over one Redis, against BullMQ on the same Redis?",
  run,
};

const bench = "replicas";
const specBytes = 1_000;
const counts = { warmUp: 1_000, flow: 6_000, submit: 10_000 };
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
      { name: "bullmq_flow", measure: () => bullFlow(redis.port) },
      { name: "hodei_1", measure: () => flow(1, settings()) },
      { name: "hodei_2", measure: () => flow(2, settings()) },
      { name: "hodei_3", measure: () => flow(3, settings()) },
      { name: "bullmq_submit", measure: () => bullSubmit(redis.port) },
      { name: "hodei_submit", measure: () => submit(settings()) },
    ],
    rounds,
  );
  const line = { bench, unit: "jobs/s" };
  const target = { of: "ratio", atLeast: 1 } as const;
  return [
    judge(samples, { ...line, case: "bullmq_flow" }),
    judge(samples, { ...line, case: "hodei_1", against: "bullmq_flow", target }),
    judge(samples, { ...line, case: "hodei_2", against: "hodei_1" }),
    judge(samples, { ...line, case: "hodei_3", against: "hodei_1" }),
    judge(samples, { ...line, case: "bullmq_submit" }),
    judge(samples, { ...line, case: "hodei_submit", against: "bullmq_submit", target }),
  ];
}

type Settings = Readonly<Record<string, string>>;

/** From submit to acknowledged result. Each server has its share of the submits and of the agents; there are as many of both whatever the number of servers. */
async function flow(servers: number, settings: Settings): Promise<Sample> {
  await using stack = new AsyncDisposableStack();
  const { sdk, addresses, seats } = await openServers(stack, { servers, settings });
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
  return { value: await rateOf(counts.flow, () => work(counts.flow)) };
}

async function submit(settings: Settings): Promise<Sample> {
  await using stack = new AsyncDisposableStack();
  const { sdk, addresses } = await openServers(stack, { servers: 1, settings });
  const [address = ""] = addresses;
  const add = (count: number) =>
    sdk.call("submitMany", { address, count, specBytes, inFlight: load.inFlight });
  await add(counts.warmUp);
  return { value: await rateOf(counts.submit, () => add(counts.submit)) };
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
  return { sdk, addresses, seats };
}

async function bullFlow(port: number): Promise<Sample> {
  await using producer = await startPart("bull");
  await using worker = await startPart("bull");
  const at = { port, queue: "flow" };
  await worker.call("work", { ...at, slots: load.agents * load.slots, kind: "noop" });
  const work = async (count: number): Promise<void> => {
    const before = await worker.call("count");
    await Promise.all([
      worker.call("finished", before + count),
      producer.call("submitMany", { ...at, count, specBytes, inFlight: load.inFlight }),
    ]);
  };
  await work(counts.warmUp);
  const value = await rateOf(counts.flow, () => work(counts.flow));
  await worker.call("rest");
  return { value };
}

async function bullSubmit(port: number): Promise<Sample> {
  await using producer = await startPart("bull");
  const add = (count: number) =>
    producer.call("submitMany", {
      port,
      queue: "submits",
      count,
      specBytes,
      inFlight: load.inFlight,
    });
  await add(counts.warmUp);
  return { value: await rateOf(counts.submit, () => add(counts.submit)) };
}

async function rateOf(count: number, step: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await step();
  return (count / (performance.now() - startedAt)) * 1_000;
}
