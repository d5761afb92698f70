import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundleAgent, startAgent } from "./agent-process.ts";
import {
  judge,
  type Question,
  readRssBytes,
  type Result,
  type RunOptions,
  type Sample,
  takeTurns,
} from "./harness.ts";
import { startPart } from "./part.ts";
import { median } from "./parts/spin.ts";

export const question: Question = {
  name: "agent",
  asks: "How soon has an agent redeemed its token, and how much memory does it take, against an empty Node process?",
  run,
};

const starts = 5;

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  await using stack = new AsyncDisposableStack();
  const registrar = stack.use(await startPart("registrar"));
  const address = await registrar.call("start");
  await bundleAgent();
  const folder = await mkdtemp(join(tmpdir(), "hodei-bench-empty-"));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const empty = join(folder, "empty.mjs");
  const waiting = join(folder, "waiting.mjs");
  await writeFile(empty, "");
  await writeFile(waiting, "setInterval(() => {}, 60_000);");
  const samples = await takeTurns(
    [
      { name: "empty_node", measure: () => several(() => startEmpty(empty, waiting)) },
      {
        name: "agent",
        measure: () =>
          several(async () => {
            const redeemed = registrar.call("redeemed");
            await using agent = await startAgent(
              { workerId: "w0123456789a", otp: "x".repeat(43) },
              { address },
            );
            const startMs = (await redeemed) - agent.startedAt;
            await settle();
            return { startMs, rssBytes: await readRssBytes(agent.pid) };
          }),
      },
    ],
    rounds,
  );
  const line = { bench: "agent", unit: "ms" };
  const memory = { ...line, unit: "MB", figure: "rss_mb" };
  return [
    judge(samples, { ...line, case: "empty_node" }),
    judge(samples, {
      ...line,
      case: "agent",
      against: "empty_node",
      target: { of: "ratio", atMost: 4 },
    }),
    judge(samples, {
      ...memory,
      case: "agent",
      against: "empty_node",
      target: { of: "ratio", atMost: 1.9 },
    }),
  ];
}

interface Start {
  readonly startMs: number;
  readonly rssBytes: number;
}

async function several(start: () => Promise<Start>): Promise<Sample> {
  const all: Start[] = [];
  for (let count = 0; count < starts; count++) all.push(await start());
  return {
    value: median(all.map((one) => one.startMs)),
    more: { rss_mb: median(all.map((one) => one.rssBytes)) / 1e6 },
  };
}

/** From start to exit of a process that does nothing; and the memory of one that waits. */
async function startEmpty(empty: string, waiting: string): Promise<Start> {
  const startedAt = performance.now();
  await once(spawn(process.execPath, [empty], { stdio: "ignore" }), "exit");
  const startMs = performance.now() - startedAt;
  const child = spawn(process.execPath, [waiting], { stdio: "ignore" });
  await settle();
  const rssBytes = await readRssBytes(child.pid ?? 0);
  child.kill("SIGKILL");
  await once(child, "exit");
  return { startMs, rssBytes };
}

/** Long enough for what a start leaves behind to be done. */
function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 300));
}
