import type { Failure, Stage } from "./failure.ts";
import type { AttemptId, JobId, WorkerId } from "./id.ts";
import type { AttemptState, JobState } from "./state.ts";

/** What a user wants to run, validated and with every default filled in. */
export interface JobSpec {
  readonly name: string;
  /** The program and its arguments; empty when there is a script. */
  readonly command: readonly string[];
  readonly script: Script | undefined;
  readonly env: Readonly<Record<string, string>>;
  /** Empty: a fresh directory of the attempt's own. */
  readonly workingDirectory: string;
  readonly stdin: Uint8Array;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly resources: Resources;
  /** Empty: the provider's own. */
  readonly image: string;
  /** From -1000 to 1000; higher runs first within a tenant. */
  readonly priority: number;
  readonly queueTimeoutMs: number;
  readonly executionTimeoutMs: number;
  readonly cancelGraceMs: number;
  readonly disconnectToleranceMs: number;
  readonly reschedule: "after_loss" | "never";
  readonly logTtlMs: number;
  /** How long the worker of an attempt that failed is kept to be looked at. */
  readonly holdMs: number;
  readonly retry: RetryPolicy;
  readonly provider: ProviderPreference | undefined;
}

export interface Script {
  readonly interpreter: readonly string[];
  readonly content: string;
}

/** What a process may use. Zero: no wish. */
export interface Resources {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
  readonly gpuCount: number;
  readonly gpuType: string;
}

export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly multiplier: number;
  /** Empty: every code but 0. */
  readonly retryableExitCodes: readonly number[];
  readonly retryLost: boolean;
}

/** Where a job should run; what is empty says nothing. */
export interface ProviderPreference {
  /** A provider's name or type. */
  readonly name: string;
  readonly isStrict: boolean;
  /** The strategy that chooses among providers. */
  readonly strategy: string;
  /** The provider must have all of these. */
  readonly requiredLabels: Readonly<Record<string, string>>;
  readonly preferredLabels: Readonly<Record<string, string>>;
  readonly preferredRegion: string;
  readonly allowedRegions: readonly string[];
  /** `amd64`, `arm64`. */
  readonly architecture: string;
  /** The provider must say that it has all of these. */
  readonly runtimes: readonly string[];
}

/** A job as the store knows it. Times are milliseconds since 1970. */
export interface Job {
  readonly id: JobId;
  readonly tenant: string;
  /** An encoded `hodei.v1.JobSpec`, normalized; the store never looks inside. */
  readonly spec: Uint8Array;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly classKey: string;
  readonly priority: number;
  readonly state: JobState;
  /** Grows by one with every change (DESIGN G4). */
  readonly version: number;
  readonly submittedAt: number;
  readonly stateAt: number;
  readonly endedAt: number | undefined;
  /** By when something must happen in this state (DESIGN G7); undefined only in a final one. */
  readonly deadline: number | undefined;
  /** When a queued job may be claimed; in the future while it backs off. */
  readonly notBefore: number;
  /** Oldest first; the last one is the current one. */
  readonly attempts: readonly Attempt[];
  /** Attempts that count against the retry policy: those that may have run user code or whose failure is the user's. */
  readonly spentAttempts: number;
  /** Infrastructure failures so far, of attempts and of workers that were started for this job. */
  readonly infraRetries: number;
  readonly failure: Failure | undefined;
  /** When the record is deleted; undefined before the end. */
  readonly expiresAt: number | undefined;
  readonly correlationId: string;
}

export interface Attempt {
  readonly id: AttemptId;
  /** Counts from 1. */
  readonly number: number;
  readonly workerId: WorkerId;
  readonly provider: string;
  readonly state: AttemptState;
  readonly assignedAt: number;
  readonly startedAt: number | undefined;
  readonly endedAt: number | undefined;
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  readonly failure: Failure | undefined;
  readonly peak: Usage | undefined;
  /** What an hour of its worker was to cost, in units of the operator's choice; undefined until the attempt has ended. */
  readonly pricePerHour: number | undefined;
}

export interface Usage {
  readonly cpuSeconds: number;
  readonly memoryBytes: number;
  readonly outputBytes: number;
}

/** One entry of a job's history. */
export interface JobEvent {
  /** Counts from 1 for each job. */
  readonly sequence: number;
  readonly version: number;
  readonly at: number;
  readonly state: JobState;
  readonly stage: Stage;
  /** Zero: none. */
  readonly attempt: number;
  readonly workerId: WorkerId | undefined;
  readonly message: string;
  readonly failure: Failure | undefined;
  /** Events dropped just before this one because the history is bounded. */
  readonly dropped: number;
}

/** What an attempt came to, as its agent says, or the server on its behalf. */
export interface Outcome {
  readonly exitCode: number | undefined;
  readonly signal: number | undefined;
  /** Undefined: it succeeded. */
  readonly failure: Failure | undefined;
  readonly startedAt: number | undefined;
  readonly endedAt: number;
  readonly peak: Usage | undefined;
}
