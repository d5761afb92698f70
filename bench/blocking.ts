import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { build } from "esbuild";
import { startAgent } from "./agent-process.ts";
import { judgeValue, type Question, readRssBytes, type Result } from "./harness.ts";
import { startPart } from "./part.ts";
import { quantile } from "./parts/spin.ts";

export const question: Question = {
  name: "blocking",
  asks: "How long does starting a process hold up an agent that runs a thousand jobs with busy logs?",
  run,
};

const count = 1_000;
const slots = 8;
/** 50 KB of lines. */
const command = [
  "sh",
  "-c",
  "yes 0123456789abcdef0123456789abcdef0123456789abcdef | head -c 50000",
];

interface Process {
  readonly pid: number;
  readonly spawnTimes: readonly number[];
  readonly loopP99Ms: number;
}

async function run(): Promise<readonly Result[]> {
  const folder = await mkdtemp(join(tmpdir(), "hodei-bench-blocking-"));
  const file = join(folder, "times");
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const preload = await makePreload(folder);
  const server = stack.use(await startPart("server"));
  const sdk = stack.use(await startPart("sdk"));
  const { address, seats } = await server.call("start", { seats: 1, slots });
  const [seat] = seats;
  if (seat === undefined) throw new Error("the server gave no seat");
  const env = { NODE_OPTIONS: `--import=${preload}`, HODEI_BENCH_SPAWN_TIMES: file };
  let rssBytes = 0;
  let agentPid = 0;
  {
    await using agent = await startAgent(seat, { address, slots, env });
    agentPid = agent.pid;
    await sdk.call("runMany", { address, count, command, inFlight: 1_000 });
    rssBytes = await readRssBytes(agent.pid);
  }
  const processes = (await readFile(file, "utf8"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Process);
  const agent = processes.find(({ pid }) => pid === agentPid);
  const spawner = processes.toSorted((a, b) => b.spawnTimes.length - a.spawnTimes.length)[0];
  const line = { bench: "blocking", unit: "ms (p99)" };
  return [
    judgeValue(
      {
        ...line,
        case: "spawn",
        value: quantile(spawner?.spawnTimes ?? [], 0.99),
        more: {
          p50_ms: quantile(spawner?.spawnTimes ?? [], 0.5),
          spawns: spawner?.spawnTimes.length ?? 0,
        },
        note: spawner?.pid === agentPid ? "in the agent" : "in the agent's helper",
      },
      { of: "value", atMost: 3 },
    ),
    judgeValue({
      ...line,
      case: "agent_loop",
      value: agent?.loopP99Ms,
      note: "delay of the agent's event loop",
    }),
    judgeValue(
      { bench: "blocking", case: "agent_resident", value: rssBytes / 1e6, unit: "MB" },
      { of: "value", atMost: 120 },
    ),
  ];
}

/** The measuring code as JavaScript: what strips types from a preloaded file would stay in the agent, 18 MB of it. */
async function makePreload(folder: string): Promise<string> {
  const outfile = join(folder, "spawn-times.mjs");
  const source = join(import.meta.dirname, "parts", "spawn-times.ts");
  await build({ entryPoints: [source], outfile, format: "esm", target: "node24" });
  return outfile;
}
