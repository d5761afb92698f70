// A small process beside an agent that runs several jobs. Forking stops whoever does it for as long as it has memory to copy, so this one does it, which has
// next to none. It ends when the agent closes its input; the processes that it started go on.
import { execFile, spawn } from "node:child_process";
import { closeSync, constants, openSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { preferForMemoryKill } from "./memory-preference.ts";
import type { Answer, Request } from "./spawner-protocol.ts";

/** The argument that makes a spawner of this file, which in the bundle is the agent's. */
export const spawnerRole = "--spawner";
export const spawnerUrl = import.meta.url;
export const isSpawner = import.meta.main && process.argv[2] === spawnerRole;

if (isSpawner) runSpawner();

function runSpawner(): void {
  createInterface({ input: process.stdin })
    .on("line", (line) => obey(JSON.parse(line) as Request))
    .on("close", () => process.exit(0));
  tell({ op: "ready" });
}

function obey(request: Request): void {
  try {
    if (request.op === "start") start(request);
    else makeFifos(request);
  } catch (error) {
    fail(request.id, error);
  }
}

function start(request: Extract<Request, { op: "start" }>): void {
  const { id, program, args, cwd, env } = request;
  const outputs: number[] = [];
  try {
    for (const path of [request.stdout, request.stderr]) {
      outputs.push(openSync(path, constants.O_WRONLY));
    }
    const child = spawn(program, args, { cwd, env, detached: true, stdio: ["ignore", ...outputs] });
    child.once("error", (error) => fail(id, error));
    if (child.pid === undefined) return;
    preferForMemoryKill(child.pid);
    child.once("exit", (code, signal) => tell({ op: "exited", id, code, signal }));
    tell({ op: "started", id, pid: child.pid });
  } finally {
    for (const descriptor of outputs) closeSync(descriptor);
  }
}

function makeFifos({ id, paths }: Extract<Request, { op: "fifos" }>): void {
  execFile("mkfifo", ["-m", "600", ...paths], (error) => {
    if (error === null) tell({ op: "made", id });
    else fail(id, error);
  });
}

function fail(id: number, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  tell({ op: "failed", id, code, message });
}

/** At once and in order; an agent that is gone hears nothing. */
function tell(answer: Answer): void {
  try {
    writeFileSync(1, `${JSON.stringify(answer)}\n`);
  } catch {
    process.exit(0);
  }
}
