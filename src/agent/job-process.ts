import { type ChildProcess, spawn } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { JobSpec } from "#job/job.ts";
import type { FreshDirectories } from "./fresh-directories.ts";
import type { LogStream } from "#log/record.ts";
import {
  closeReaders,
  closeWriters,
  type OutputPipes,
  type PipeEnds,
  type Pipes,
} from "./pipes.ts";

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
  /** The fresh directory, if it got one, and the file of its script. */
  readonly directory: string | undefined;
  readonly scriptPath: string | undefined;
}

/** A started process and what it writes. `child` tells of its exit; each output ends when nobody holds its pipe any more. */
export interface JobProcess {
  readonly child: ChildProcess;
  readonly outputs: readonly { readonly stream: LogStream; readonly source: Readable }[];
}

/** The part of the agent's environment that every job gets. */
export function inheritedEnvironment(
  agentEnv: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(agentEnv).filter(([name]) => inherited.test(name)));
}

export interface LaunchGround {
  readonly workDir: string;
  readonly directories: FreshDirectories;
  /** What every job inherits. */
  readonly env: Readonly<Record<string, string>>;
}

/** Writes what the process needs: a fresh directory unless the job names its own, and its script. */
export function prepareLaunch(
  spec: JobSpec,
  identity: JobIdentity,
  { workDir, directories, env }: LaunchGround,
): Launch {
  const scriptPath =
    spec.script && join(workDir, `${identity.jobId}-${identity.attemptNumber}.script`);
  if (spec.script !== undefined && scriptPath !== undefined) {
    writeFileSync(scriptPath, spec.script.content, { mode: 0o700, flag: "wx" });
  }
  const directory = spec.workingDirectory === "" ? directories.take() : undefined;
  const [program = "", ...args] = commandOf(spec, scriptPath);
  return {
    program,
    args,
    cwd: directory ?? spec.workingDirectory,
    env: jobEnvironment(spec, identity, env),
    stdin: spec.stdin,
    directory,
    scriptPath,
  };
}

function commandOf({ script, command }: JobSpec, scriptPath: string | undefined) {
  if (script === undefined || scriptPath === undefined) return command;
  const { interpreter, content } = script;
  return [...(interpreter.length > 0 ? interpreter : interpreterOf(content)), scriptPath];
}

/** Starts the process in a session of its own. Throws what the system says when it cannot. */
export function startProcess(launch: Launch, source: Pipes): JobProcess {
  const pipes = source.take();
  try {
    const child = spawn(launch.program, launch.args, {
      cwd: launch.cwd,
      env: launch.env,
      detached: true,
      stdio: [
        launch.stdin.length > 0 ? "pipe" : "ignore",
        pipes?.stdout.writer ?? "pipe",
        pipes?.stderr.writer ?? "pipe",
      ],
    });
    if (child.pid !== undefined) preferForMemoryKill(child.pid);
    if (child.stdin !== null) {
      // A process that does not read its input is no error.
      child.stdin.on("error", () => undefined);
      child.stdin.end(launch.stdin);
    }
    return { child, outputs: outputsOf(child, pipes) };
  } catch (error) {
    if (pipes !== undefined) closeReaders(pipes);
    throw error;
  } finally {
    // The process has its own copies; the output ends when those are closed.
    if (pipes !== undefined) closeWriters(pipes);
  }
}

function outputsOf(child: ChildProcess, pipes: OutputPipes | undefined): JobProcess["outputs"] {
  const stdout = pipes === undefined ? child.stdout : readerOf(pipes.stdout);
  const stderr = pipes === undefined ? child.stderr : readerOf(pipes.stderr);
  return [
    ...(stdout === null ? [] : [{ stream: "stdout", source: stdout } as const]),
    ...(stderr === null ? [] : [{ stream: "stderr", source: stderr } as const]),
  ];
}

function readerOf({ reader }: PipeEnds): Readable {
  return new Socket({ fd: reader, readable: true, writable: false });
}

/** Whether a start failed for want of the directory rather than of the program: the system has one word for both. */
export function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

function jobEnvironment(
  spec: JobSpec,
  identity: JobIdentity,
  inheritedEnv: Readonly<Record<string, string>>,
): Record<string, string> {
  const at = identity.marker.indexOf("=");
  return {
    ...inheritedEnv,
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

/** When memory runs out the job goes before the agent. Only the most is always allowed: a cluster may have given the agent itself nearly as much. */
function preferForMemoryKill(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // It has ended already, or this is not Linux.
  }
}
