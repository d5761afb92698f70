import { constants } from "node:os";
import type { Failure } from "#job/failure.ts";

/** Why the agent ended an attempt, when it did. */
export type StopCause = "cancelled" | "execution_timeout" | "self_stopped" | "worker_stopped";

/** How a job's process ended. */
export interface Exit {
  readonly exitCode: number | undefined;
  readonly signal: NodeJS.Signals | undefined;
}

export interface Circumstances {
  /** The first reason for which the agent ended it. */
  readonly stopCause: StopCause | undefined;
  readonly stopReason: string;
  /** Whether the process was killed, and the kernel killed something in the agent's control group for want of memory. */
  readonly isOutOfMemory: boolean;
  /** How many processes the kernel has certainly killed there while it ran. */
  readonly memoryKills: number;
  /** Whether a shell or an `env` ran the command, so that 126 and 127 are its words and not the program's. */
  readonly isShell: boolean;
}

/** What an exit means: undefined is success. Pure. */
export function failureOfExit(exit: Exit, about: Circumstances): Failure | undefined {
  const evidence = evidenceOf(exit);
  if (about.stopCause !== undefined) return stopped(about.stopCause, about.stopReason, evidence);
  if (exit.exitCode === 0) return undefined;
  const ran = { stage: "running", blame: "user", userCodeMayHaveRun: true, evidence } as const;
  if (about.isOutOfMemory) {
    // A shell says 137 for a child of its own; the process that was started is not the one that was killed then.
    const message =
      exit.signal === undefined
        ? "a process of the job ran out of memory, and the job gave up with code 137"
        : "the job ran out of memory";
    return { ...ran, cause: "out_of_memory", message };
  }
  if (exit.signal !== undefined) {
    return { ...ran, cause: "signal", message: `the process was ended by ${exit.signal}` };
  }
  const message = `the process exited with code ${exit.exitCode}`;
  if (about.isShell && exit.exitCode === 127) {
    return { ...ran, cause: "command_not_found", message: `${message}: command not found` };
  }
  if (about.isShell && exit.exitCode === 126) {
    return { ...ran, cause: "not_executable", message: `${message}: command not executable` };
  }
  if (about.memoryKills === 0) return { ...ran, cause: "exit_code", message };
  return {
    ...ran,
    cause: "exit_code",
    message: `${message}, after ${noteOfKills(about.memoryKills).trim()}`,
    evidence: { ...evidence, memory_kills: String(about.memoryKills) },
  };
}

/** What happened beside the job's own process, as a line. */
export function noteOfKills(count: number): string {
  const what = count === 1 ? "a process of the job" : `${count} processes of the job`;
  return `the kernel killed ${what} for want of memory\n`;
}

/** What an attempt comes to that was ended before its process was started. */
export function failureBeforeStart(cause: StopCause, reason: string): Failure {
  return { ...stopped(cause, reason, {}), stage: "preparing", userCodeMayHaveRun: false };
}

/** What an attempt comes to whose spec the agent cannot read: the server has checked it, so it is nobody's fault but the system's. */
export function failureOfSpec(reason: string): Failure {
  return {
    stage: "preparing",
    cause: "preparation_failed",
    blame: "system",
    message: "the agent cannot read the spec of the job",
    userCodeMayHaveRun: false,
    evidence: { error: reason },
  };
}

/** What an attempt comes to whose process nobody watches any more. Its spawner may have been killed for want of memory, or by the job itself. */
export function failureOfLoss(): Failure {
  return {
    stage: "running",
    cause: "worker_died",
    blame: "node",
    message:
      "the process that starts jobs beside the agent has died, and the job was ended with it",
    userCodeMayHaveRun: true,
    evidence: {},
  };
}

/** Why a process could not be started, with the exit code that a shell would give it. */
export function failureOfStart(
  program: string,
  error: unknown,
): { readonly exitCode: number | undefined; readonly failure: Failure } {
  const code = error instanceof Error && "code" in error ? String(error.code) : "unknown";
  const evidence = { program, error: code };
  const base = { stage: "preparing", userCodeMayHaveRun: false } as const;
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
      return {
        exitCode: 127,
        failure: {
          ...base,
          cause: "command_not_found",
          blame: "user",
          message: `${program}: command not found`,
          evidence: { ...evidence, exit_code: "127" },
        },
      };
    case "EACCES":
    case "EPERM":
    case "ENOEXEC":
    case "EISDIR":
      return {
        exitCode: 126,
        failure: {
          ...base,
          cause: "not_executable",
          blame: "user",
          message: `${program}: cannot be executed`,
          evidence: { ...evidence, exit_code: "126" },
        },
      };
    default: {
      const isUsers = ["E2BIG", "ENAMETOOLONG", "ERR_INVALID_ARG_VALUE"].includes(code);
      const message = `${program}: cannot be started (${code})`;
      const blame = isUsers ? "user" : "node";
      return {
        exitCode: undefined,
        failure: { ...base, cause: "preparation_failed", blame, message, evidence },
      };
    }
  }
}

/** The number of a signal; zero when there is none. */
export function signalNumber(signal: NodeJS.Signals | undefined): number {
  return signal === undefined ? 0 : (constants.signals[signal] ?? 0);
}

/** Whether exits 126 and 127 of this program are about the command that it was given. */
export function isShell(program: string): boolean {
  return /^(?:.*\/)?(?:sh|ash|dash|bash|ksh|mksh|zsh|busybox|env|nice|nohup|setsid|timeout)$/.test(
    program,
  );
}

function stopped(cause: StopCause, reason: string, evidence: Record<string, string>): Failure {
  const blames = {
    cancelled: "user",
    execution_timeout: "user",
    self_stopped: "system",
    worker_stopped: "provider",
  } as const;
  const messages = {
    cancelled: "cancelled",
    execution_timeout: "ran for longer than its execution timeout",
    self_stopped: "stopped by its agent, which had no contact for longer than the tolerance",
    worker_stopped: "the worker was asked to stop",
  };
  const message = reason === "" ? messages[cause] : `${messages[cause]}: ${reason}`;
  const blame = blames[cause];
  return { stage: "running", cause, blame, message, userCodeMayHaveRun: true, evidence };
}

function evidenceOf(exit: Exit): Record<string, string> {
  return {
    ...(exit.exitCode === undefined ? {} : { exit_code: String(exit.exitCode) }),
    ...(exit.signal === undefined ? {} : { signal: exit.signal }),
  };
}
