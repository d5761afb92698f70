import type { Job } from "#client/client.ts";
import { type ClientErrorCode, HodeiClientError } from "#client/error.ts";

/** How the command ends; a job that ran to its end gives its own code. */
export const exits = {
  done: 0,
  failed: 1,
  usage: 64,
  unreachable: 69,
  internal: 70,
  infrastructure: 75,
  notAllowed: 77,
  timedOut: 124,
  cancelled: 130,
} as const;

/** A command line that is wrong; the message names the flag. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "UsageError";
  }
}

/** What `hodei run` ends with for a job that is over. */
export function exitOfJob({ state, exitCode, failure, attempts }: Job): number {
  switch (state) {
    case "succeeded":
      return exits.done;
    case "cancelled":
      return exits.cancelled;
    case "timed_out":
      return exits.timedOut;
    case "queued":
    case "starting":
    case "running":
    case "cancelling":
    case "failed": {
      if (failure !== undefined && failure.blame !== "user") return exits.infrastructure;
      const signal = attempts.at(-1)?.signal;
      if (signal !== undefined) return 128 + signal;
      return exitCode === undefined || exitCode === 0 ? exits.failed : exitCode;
    }
  }
}

export function exitOfError(error: unknown): number {
  if (error instanceof UsageError) return exits.usage;
  return error instanceof HodeiClientError
    ? (exitOfCode[error.code] ?? exits.failed)
    : exits.internal;
}

const exitOfCode: Partial<Record<ClientErrorCode, number>> = {
  INVALID_ARGUMENT: exits.usage,
  OUT_OF_RANGE: exits.usage,
  ALREADY_EXISTS: exits.usage,
  UNAVAILABLE: exits.unreachable,
  DEADLINE_EXCEEDED: exits.unreachable,
  RESOURCE_EXHAUSTED: exits.infrastructure,
  UNAUTHENTICATED: exits.notAllowed,
  PERMISSION_DENIED: exits.notAllowed,
  CANCELLED: exits.cancelled,
  INTERNAL: exits.internal,
  UNKNOWN: exits.internal,
  DATA_LOSS: exits.internal,
};
