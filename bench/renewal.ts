import { execFileSync } from "node:child_process";
import { openFarm } from "./farm.ts";
import {
  judge,
  notRun,
  type Question,
  type Result,
  type RunOptions,
  takeTurns,
} from "./harness.ts";

export const question: Question = {
  name: "renewal",
  asks: "Does a volume whose fsync takes 10 ms longer delay the renewals of leases?",
  run,
};

const ms = 2_000;
const seats = 20;
const syncs = "fsync,fdatasync";

async function run({ rounds }: RunOptions): Promise<readonly Result[]> {
  if (!hasStrace()) return [notRun("renewal", "slow_fsync", "strace is missing")];
  await using stack = new AsyncDisposableStack();
  // Both run under strace, so that only the delay differs.
  const farms = {
    fast_fsync: await openFarm(stack, { seats, slots: 4, under: strace(0) }),
    slow_fsync: await openFarm(stack, { seats, slots: 4, under: strace(10_000) }),
  };
  const cases = Object.entries(farms).map(([name, farm]) => ({
    name,
    measure: async () => {
      const before = await farm.agents.call("count");
      const jobs = { perSecond: 200, count: (ms / 1000) * 200 };
      const [renewals] = await Promise.all([
        farm.agents.call("renewals", { everyMs: 20, ms }),
        farm.sdk.call("paced", { ...jobs, address: farm.address }),
      ]);
      await farm.agents.call("finished", before + jobs.count);
      const starts = await farm.agents.call("starts");
      return {
        value: renewals.p99Ms,
        more: { p50_ms: renewals.p50Ms, job_start_p50_ms: starts.p50Ms },
      };
    },
  }));
  const samples = await takeTurns(cases, rounds);
  const line = { bench: "renewal", unit: "ms (p99)" };
  return [
    judge(samples, { ...line, case: "fast_fsync" }),
    judge(samples, {
      ...line,
      case: "slow_fsync",
      against: "fast_fsync",
      target: { of: "ratio", atMost: 2 },
    }),
  ];
}

function strace(delayMicros: number): readonly string[] {
  const delay = delayMicros === 0 ? [] : ["-e", `inject=${syncs}:delay_enter=${delayMicros}`];
  return [
    "strace",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-o",
    "/dev/null",
    "-e",
    `trace=${syncs}`,
    ...delay,
  ];
}

function hasStrace(): boolean {
  try {
    execFileSync("strace", ["-f", "--seccomp-bpf", "-o", "/dev/null", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
