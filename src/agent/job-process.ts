import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { JobSpec } from "#job/job.ts";

/** What a job's process gets of the agent's environment, and nothing else (DESIGN G13). */
const inherited = /^(?:PATH|HOME|LANG|LC_[A-Z]+|TZ|TMPDIR|USER|LOGNAME|HODEI_WORKER_MARKER)$/;

export interface JobIdentity {
  readonly jobId: string;
  readonly attemptNumber: number;
  /** `HODEI_JOB_MARKER=<random>`, by which its processes are found again. */
  readonly marker: string;
}

/** How a job's process is started. */
export interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: Uint8Array;
  /** Files and directories that are removed afterwards. */
  readonly scratch: readonly string[];
}

/** Writes what the process needs: a fresh directory unless the job names its own, and its script. */
export function prepareLaunch(
  spec: JobSpec,
  identity: JobIdentity,
  { workDir, env }: { readonly workDir: string; readonly env: Readonly<Record<string, string>> },
): Launch {
  const base = join(workDir, `${identity.jobId}-${identity.attemptNumber}`);
  const scratch: string[] = [];
  let cwd = spec.workingDirectory;
  if (cwd === "") {
    mkdirSync(base, { mode: 0o700 });
    scratch.push(base);
    cwd = base;
  }
  const [program = "", ...args] = spec.script === undefined ? spec.command : writeScript();
  return {
    program,
    args,
    cwd,
    env: jobEnvironment(spec, identity, env),
    stdin: spec.stdin,
    scratch,
  };

  function writeScript(): readonly string[] {
    const { interpreter, content } = spec.script ?? { interpreter: [], content: "" };
    const path = `${base}.script`;
    scratch.push(path);
    writeFileSync(path, content, { mode: 0o700, flag: "wx" });
    return [...(interpreter.length > 0 ? interpreter : interpreterOf(content)), path];
  }
}

/** Removes what `prepareLaunch` made; best effort. */
export async function removeScratch(scratch: readonly string[]): Promise<void> {
  await Promise.allSettled(scratch.map((path) => rm(path, { recursive: true, force: true })));
}

/** Starts the process in a session of its own. Throws what the system says when it cannot. */
export function startProcess(launch: Launch): ChildProcess {
  const child = spawn(launch.program, launch.args, {
    cwd: launch.cwd,
    env: { ...launch.env },
    detached: true,
    stdio: [launch.stdin.length > 0 ? "pipe" : "ignore", "pipe", "pipe"],
  });
  if (child.pid !== undefined) preferForMemoryKill(child.pid);
  if (child.stdin !== null) {
    // A process that does not read its input is no error.
    child.stdin.on("error", () => undefined);
    child.stdin.end(launch.stdin);
  }
  return child;
}

/** Whether a start failed for want of the directory rather than of the program: the system has one word for both. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function jobEnvironment(
  spec: JobSpec,
  identity: JobIdentity,
  agentEnv: Readonly<Record<string, string>>,
): Record<string, string> {
  const at = identity.marker.indexOf("=");
  return {
    ...Object.fromEntries(Object.entries(agentEnv).filter(([name]) => inherited.test(name))),
    ...spec.env,
    HODEI_JOB_ID: identity.jobId,
    HODEI_ATTEMPT: String(identity.attemptNumber),
    [identity.marker.slice(0, at)]: identity.marker.slice(at + 1),
  };
}

/** The `#!` line as the kernel reads it: a program and at most one argument. Running the file itself would race with forks that still hold it open. */
function interpreterOf(content: string): string[] {
  const [, program, argument] =
    /^#![ \t]*([^ \t\n]+)[ \t]*([^\n]*?)[ \t\r]*(?:\n|$)/.exec(content) ?? [];
  if (program === undefined) return ["/bin/sh"];
  return argument === undefined || argument === "" ? [program] : [program, argument];
}

/** When memory runs out the job goes before the agent. */
function preferForMemoryKill(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "500");
  } catch {
    // It has ended already, or this is not Linux.
  }
}
