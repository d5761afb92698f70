import { spawn } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { JobSpec } from "#job/job.ts";
import type { FreshDirectories } from "./fresh-directories.ts";
import type { LogStream } from "#log/record.ts";
import { preferForMemoryKill } from "./memory-preference.ts";
import {
  closeReaders,
  closeWriters,
  type OutputPipes,
  type PipeEnds,
  type Pipes,
} from "./pipes.ts";
import type { Spawner } from "./spawner.ts";
import type { Exit } from "./verdict.ts";

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

/** What a process writes; each output ends when nobody holds its pipe any more. */
export type JobOutputs = readonly { readonly stream: LogStream; readonly source: Readable }[];

/** Who hears of a process. Either `onFailed`, or `onStarted` and then `onExit`; or `onLost` in the place of what is missing. */
export interface JobProcessEvents {
  readonly onStarted: (pid: number, outputs: JobOutputs) => void;
  /** It never ran; the system's error. */
  readonly onFailed: (error: unknown) => void;
  readonly onExit: (exit: Exit) => void;
  /** The spawner is gone: nobody can tell any more whether it runs, or how it ends. */
  readonly onLost: () => void;
}

export interface ProcessGround {
  readonly pipes: Pipes;
  readonly spawner: Spawner;
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

/** Starts the process in a session of its own. */
export function startProcess(
  launch: Launch,
  { pipes: source, spawner }: ProcessGround,
  events: JobProcessEvents,
): void {
  let pipes: OutputPipes | undefined;
  try {
    pipes = source.take();
    if (pipes !== undefined && spawner.isReady && launch.stdin.length === 0) {
      startElsewhere(launch, { pipes, spawner }, events);
    } else startHere(launch, pipes, events);
  } catch (error) {
    if (pipes !== undefined) closeReaders(pipes);
    events.onFailed(error);
  }
}

/** By the spawner, which opens the pipes through this process. They are held open until it has. */
function startElsewhere(
  launch: Launch,
  { pipes, spawner }: { readonly pipes: OutputPipes; readonly spawner: Spawner },
  events: JobProcessEvents,
): void {
  const { program, args, cwd, env } = launch;
  const pathOf = ({ writer }: PipeEnds): string => `/proc/${process.pid}/fd/${writer}`;
  const stdout = pathOf(pipes.stdout);
  const stderr = pathOf(pipes.stderr);
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    closeWriters(pipes);
  };
  let hasStarted = false;
  const start = { program, args, cwd, env, stdout, stderr };
  spawner.start(start, {
    onStarted(pid) {
      hasStarted = true;
      close();
      events.onStarted(pid, outputsOf(pipes));
    },
    onFailed(error) {
      close();
      closeReaders(pipes);
      events.onFailed(error);
    },
    onExit: events.onExit,
    onLost() {
      close();
      if (!hasStarted) closeReaders(pipes);
      events.onLost();
    },
  });
}

function startHere(launch: Launch, pipes: OutputPipes | undefined, events: JobProcessEvents): void {
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
    const { pid, stdin, stdout, stderr } = child;
    if (pid === undefined) {
      child.once("error", (error) => {
        if (pipes !== undefined) closeReaders(pipes);
        events.onFailed(error);
      });
      return;
    }
    preferForMemoryKill(pid);
    if (stdin !== null) {
      // A process that does not read its input is no error.
      stdin.on("error", () => undefined);
      stdin.end(launch.stdin);
    }
    child.once("exit", (code, signal) =>
      events.onExit({ exitCode: code ?? undefined, signal: signal ?? undefined }),
    );
    events.onStarted(pid, pipes === undefined ? given({ stdout, stderr }) : outputsOf(pipes));
  } finally {
    // The process has its own copies; the output ends when those are closed.
    if (pipes !== undefined) closeWriters(pipes);
  }
}

function outputsOf({ stdout, stderr }: OutputPipes): JobOutputs {
  return [
    { stream: "stdout", source: readerOf(stdout) },
    { stream: "stderr", source: readerOf(stderr) },
  ];
}

function given(outputs: Record<"stdout" | "stderr", Readable | null>): JobOutputs {
  return (["stdout", "stderr"] as const).flatMap((stream) => {
    const source = outputs[stream];
    return source === null ? [] : [{ stream, source }];
  });
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
