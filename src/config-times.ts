import { whole } from "./setting.ts";

// The times after which something is done, or given up.

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

export const timesShape = {
  renewIntervalMs: whole(
    { least: 50, most: minute, standard: 5 * second },
    "Time between two renewals of an agent",
  ),
  agentReconnectMaxMs: whole(
    { least: 1, most: hour, standard: 2 * second },
    "Longest pause between two tries of an agent to reach a server that is away; each is a random part of it",
  ),
  suspectAfterMs: whole(
    { least: 100, most: hour, standard: 30 * second },
    "Silence after which a worker is looked at",
  ),
  disconnectToleranceMs: whole(
    { least: 100, most: 7 * day, standard: 10 * minute },
    "How long an attempt may be without contact, unless its job says otherwise",
  ),
  disconnectGraceMs: whole(
    { least: 0, most: hour, standard: 5 * second },
    "What is added to the tolerance before an attempt is given up",
  ),
  startDeadlineMs: whole(
    { least: 100, most: day, standard: 240 * second },
    "How long a worker may take until it dials back",
  ),
  gpuStartDeadlineMs: whole(
    { least: 100, most: day, standard: 10 * minute },
    "How long a worker with GPUs may take until it dials back",
  ),
  circuitFailures: whole(
    { least: 1, most: 1_000, standard: 5 },
    "Failed starts in a row after which a provider is left alone for a while",
  ),
  circuitOpenMs: whole(
    { least: 10, most: hour, standard: minute },
    "How long that is, the first time; then it is tried with one worker",
  ),
  hedgeAfterMs: whole(
    { least: 0, most: hour, standard: 0 },
    "How long an urgent job's worker may take until a second one is started on another provider; 0: never",
  ),
  hedgePriority: whole(
    { least: 0, most: 1_000, standard: 1_000 },
    "From which priority on a job is urgent",
  ),
  otpSlackMs: whole(
    { least: 0, most: hour, standard: minute },
    "How long a one-time token is good beyond the start deadline",
  ),
  assignDeadlineMs: whole(
    { least: 100, most: day, standard: minute },
    "How long an assigned attempt may take until its process runs",
  ),
  queueTimeoutMs: whole(
    { least: 1, most: 365 * day, standard: day },
    "How long a job may wait for a worker, unless it says otherwise",
  ),
  executionTimeoutMs: whole(
    { least: 1, most: 365 * day, standard: hour },
    "How long an attempt may run, unless its job says otherwise",
  ),
  cancelGraceMs: whole(
    { least: 0, most: day, standard: 30 * second },
    "Time between the polite signal and the kill, unless the job says otherwise",
  ),
  maxInfraRetries: whole(
    { least: 0, most: 1_000, standard: 10 },
    "Failures of the infrastructure that a job survives",
  ),
  sweepIntervalMs: whole(
    { least: 10, most: minute, standard: second },
    "Time between two looks at deadlines",
  ),
  provisionIntervalMs: whole(
    { least: 10, most: minute, standard: second },
    "Time between two looks at the demand for workers",
  ),
  reapIntervalMs: whole(
    { least: 10, most: minute, standard: 10 * second },
    "Time between two looks for leftovers at the providers",
  ),
};
