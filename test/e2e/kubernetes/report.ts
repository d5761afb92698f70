import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { JobEvent } from "#client/client.ts";
import type { Ground } from "./ground.ts";

/** Notes when each stage of a job was first seen, in seconds after its submit. */
export function record(ground: Ground, name: string, events: readonly JobEvent[]): void {
  const first = events[0]?.at?.getTime() ?? 0;
  const seconds: Record<string, number> = {};
  for (const { stage, at } of events) {
    seconds[stage] ??= ((at?.getTime() ?? first) - first) / 1_000;
  }
  ground.timings.push({ name, seconds });
}

/** Leaves the timings as JSON in `HODEI_K8S_TEST_REPORT`, a folder; nothing where that is not given. */
export function writeReport(suite: string, timings: Ground["timings"]): void {
  const folder = process.env["HODEI_K8S_TEST_REPORT"];
  if (folder === undefined || folder === "") return;
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${suite.replaceAll(/\W+/gu, "-")}.json`);
  writeFileSync(file, `${JSON.stringify(timings, undefined, 2)}\n`);
}
