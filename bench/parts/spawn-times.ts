import childProcess from "node:child_process";
import { appendFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { monitorEventLoopDelay } from "node:perf_hooks";

// Preloaded into an agent: measures how long each spawn() holds up the event loop and how long the loop was held up at all,
// and writes that into a file when the process ends.

const file = process.env["HODEI_BENCH_SPAWN_TIMES"];
const spawnTimes: number[] = [];
const delays = monitorEventLoopDelay({ resolution: 1 });
delays.enable();

const original = childProcess.spawn;
function spawn(...given: unknown[]): unknown {
  const startedAt = performance.now();
  try {
    return Reflect.apply(original, undefined, given) as unknown;
  } finally {
    spawnTimes.push(performance.now() - startedAt);
  }
}
Reflect.set(childProcess, "spawn", spawn);
syncBuiltinESMExports();

process.once("exit", () => {
  if (file === undefined) return;
  const line = { pid: process.pid, spawnTimes, loopP99Ms: delays.percentile(99) / 1e6 };
  appendFileSync(file, `${JSON.stringify(line)}\n`);
});
