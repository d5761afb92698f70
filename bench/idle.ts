import { judgeValue, type Question, type Result } from "./harness.ts";
import { startPart } from "./part.ts";

export const question: Question = {
  name: "idle",
  asks: "How much of the server's memory do an idle agent and an idle follower take?",
  run,
};

const warmUp = 50;
const agents = 500;
const followers = 500;

async function run(): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startPart("server"));
  const sdk = stack.use(await startPart("sdk"));
  const part = stack.use(await startPart("agents"));
  const { address, seats } = await server.call("start", { seats: warmUp + agents, slots: 1 });
  await part.call("connect", { address, seats: seats.slice(0, warmUp), slots: 1, ends: false });
  await sdk.call("submitMany", { address, count: 1, specBytes: 10, inFlight: 1 });
  const [job] = await part.call("held", 1);
  const jobId = job?.jobId ?? "";
  const before = await server.settledUsage();
  await part.call("connect", { address, seats: seats.slice(warmUp), slots: 1, ends: false });
  const withAgents = await server.settledUsage();
  await sdk.call("idle", { address, jobId, followers: warmUp });
  const warm = await server.settledUsage();
  await sdk.call("idle", { address, jobId, followers });
  const withFollowers = await server.settledUsage();
  const kb = (bytes: number): number => bytes / 1024;
  const line = { bench: "idle", unit: "KB" };
  return [
    judgeValue(
      {
        ...line,
        case: "agent",
        value: kb((withAgents.rssBytes - before.rssBytes) / agents),
        more: { heap_kb: kb((withAgents.heapBytes - before.heapBytes) / agents) },
        note: "resident, each on a connection of its own",
      },
      { of: "value", atMost: 64 },
    ),
    judgeValue(
      {
        ...line,
        case: "follower",
        value: kb((withFollowers.rssBytes - warm.rssBytes) / followers),
        more: { heap_kb: kb((withFollowers.heapBytes - warm.heapBytes) / followers) },
        note: "resident, 50 on a connection",
      },
      { of: "value", atMost: 20 },
    ),
  ];
}
