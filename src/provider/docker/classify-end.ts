import { constants } from "node:os";
import type { Failure } from "#job/failure.ts";

/** How a container ended, and what was seen of it before. */
export interface SeenEnd {
  readonly containerId: string;
  readonly image: string;
  readonly isImageOfJob: boolean;
  /** Undefined: it was gone before anybody could look. */
  readonly exitCode: number | undefined;
  /** The engine's own error, for one that never ran. */
  readonly error: string;
  readonly hasRun: boolean;
  /** Whether the kernel killed something in it for want of memory. */
  readonly wasOutOfMemory: boolean;
  readonly memoryLimit: number;
  /** The last signal that somebody sent by the engine. */
  readonly sentSignal: number | undefined;
  /** Undefined: nobody knows. */
  readonly hasConnected: boolean | undefined;
  /** Its time was up. */
  readonly isExpired: boolean;
  readonly isRemovedByOthers: boolean;
  /** The end of what it printed. */
  readonly output: string;
}

/** What the agent ends with when it cannot work here: wrong settings, no server, a refused token. */
const refusals: ReadonlySet<number> = new Set([64, 69, 77]);

/** Why a worker's container is over; undefined when it left on purpose. */
export function endFailure(end: SeenEnd): Failure | undefined {
  const { exitCode, image } = end;
  if (end.isExpired) {
    const message = "its container has lived as long as it may";
    return failure(end, { cause: "worker_stopped", blame: "system", message });
  }
  const isKilled = exitCode === killedCode;
  if (end.wasOutOfMemory && exitCode !== 0 && !(isKilled && end.sentSignal === sigkill)) {
    return outOfMemory(end, isKilled);
  }
  if (!end.hasRun && !end.isRemovedByOthers) {
    const message = `its container never ran${end.error === "" ? "" : `: ${end.error}`}`;
    return failure(end, { cause: "start_failed", blame: "provider", message, isStart: true });
  }
  if (exitCode === 126 || exitCode === 127) {
    const blame = end.isImageOfJob ? "user" : "provider";
    const message = `the agent cannot be started in image ${image} (exit code ${exitCode})`;
    return failure(end, { cause: "start_failed", blame, message, isStart: true });
  }
  if (end.hasConnected === false && exitCode !== undefined && refusals.has(exitCode)) {
    const message = `the agent ended with exit code ${exitCode} before it had connected`;
    return failure(end, { cause: "start_failed", blame: "provider", message });
  }
  if (exitCode === 0) return undefined;
  if (exitCode === undefined) {
    const message = "somebody else removed its container";
    return failure(end, { cause: "worker_stopped", blame: "provider", message });
  }
  return failure(end, { cause: "worker_died", blame: "node", message: deathOf(end, exitCode) });
}

const sigkill = constants.signals.SIGKILL;
const killedCode = 128 + sigkill;

function outOfMemory(end: SeenEnd, isAgent: boolean): Failure {
  const within = end.memoryLimit === 0 ? "" : ` of ${Math.round(end.memoryLimit / 2 ** 20)} MiB`;
  const message = isAgent
    ? `the worker was killed since its container was out of its memory${within}`
    : `a process in the worker was killed since its container was out of its memory${within}; the agent then ended with exit code ${end.exitCode ?? "unknown"}`;
  return failure(end, {
    cause: "out_of_memory",
    blame: "user",
    message,
    more: { killed: isAgent ? "agent" : "child", memory_limit: String(end.memoryLimit) },
  });
}

function deathOf({ sentSignal }: SeenEnd, exitCode: number): string {
  const signal = signalOf(exitCode);
  if (signal === undefined) return `the agent ended with exit code ${exitCode}`;
  const byEngine = sentSignal !== undefined && 128 + sentSignal === exitCode;
  return byEngine
    ? `the agent was killed by ${signal}, sent by somebody through the engine`
    : `the agent was killed by ${signal}`;
}

function failure(
  end: SeenEnd,
  seen: Pick<Failure, "cause" | "blame" | "message"> & {
    readonly isStart?: boolean;
    readonly more?: Readonly<Record<string, string>>;
  },
): Failure {
  const { exitCode, sentSignal, hasConnected, output } = end;
  const signal = exitCode === undefined ? undefined : signalOf(exitCode);
  const isStart = seen.isStart === true;
  return {
    stage: isStart ? "creating" : hasConnected === false ? "connecting" : "running",
    cause: seen.cause,
    blame: seen.blame,
    message: seen.message,
    userCodeMayHaveRun: !isStart && hasConnected !== false,
    evidence: {
      container: end.containerId,
      image: end.image,
      ...(exitCode === undefined ? {} : { exit_code: String(exitCode) }),
      ...(signal === undefined ? {} : { signal }),
      ...(sentSignal === undefined ? {} : { sent_signal: nameOf(sentSignal) }),
      ...(end.wasOutOfMemory ? { out_of_memory: "true" } : {}),
      ...(end.error === "" ? {} : { error: end.error }),
      ...(output === "" ? {} : { output }),
      ...seen.more,
    },
  };
}

function signalOf(exitCode: number): string | undefined {
  return exitCode > 128 && exitCode < 128 + 65 ? nameOf(exitCode - 128) : undefined;
}

function nameOf(number: number): string {
  const named = Object.entries(constants.signals).find(([, value]) => value === number);
  return named?.[0] ?? `signal ${number}`;
}
