import { spawn } from "node:child_process";
import { spin, type Load, type LoadResult } from "./spin.ts";

/** What a machine can start at all: `sh -c 'echo hello'`, its output read, from a small process. */
export const calls = { run: (load: Load): Promise<LoadResult> => spin(load, echo) };

function echo(): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn("sh", ["-c", "echo hello"], { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.resume();
    child.stderr.resume();
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`sh: ${code}`))));
  });
}
