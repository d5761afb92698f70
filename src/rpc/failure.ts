import { blames, causes, type Failure, stages } from "#job/failure.ts";
import type { Usage } from "#job/job.ts";
import type { Failure as WireFailure, Usage as WireUsage } from "./gen/hodei/v1/job.ts";

// The lists of job/failure.ts are in the order of the proto's enums, whose first value is "unspecified".

export function stageToWire(stage: Failure["stage"]): WireFailure["stage"] {
  return (stages.indexOf(stage) + 1) as WireFailure["stage"];
}

export function stageFromWire(stage: WireFailure["stage"]): Failure["stage"] {
  return stages[stage - 1] ?? "queued";
}

export function failureToWire(failure: Failure): WireFailure {
  return {
    stage: stageToWire(failure.stage),
    cause: (causes.indexOf(failure.cause) + 1) as WireFailure["cause"],
    blame: (blames.indexOf(failure.blame) + 1) as WireFailure["blame"],
    message: failure.message,
    userCodeMayHaveRun: failure.userCodeMayHaveRun,
    evidence: { ...failure.evidence },
  };
}

/** A failure from another program: what this version does not know becomes a fault of the system. */
export function failureFromWire(failure: WireFailure): Failure {
  return {
    stage: stageFromWire(failure.stage),
    cause: causes[failure.cause - 1] ?? "internal",
    blame: blames[failure.blame - 1] ?? "system",
    message: failure.message,
    userCodeMayHaveRun: failure.userCodeMayHaveRun,
    evidence: failure.evidence,
  };
}

export function usageToWire(usage: Usage): WireUsage {
  return { ...usage };
}

export function usageFromWire(usage: WireUsage): Usage {
  return { ...usage };
}
