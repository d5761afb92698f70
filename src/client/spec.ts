import type { JobSpec } from "#job/job.ts";
import { type JobSpec as WireSpec, ReschedulePolicy } from "#rpc/gen/hodei/v1/job.ts";
import { specFromWire } from "#rpc/spec.ts";
import { durationOf } from "#rpc/time.ts";
import { priorities } from "./priority.ts";

/** What to run: a command or a script, and whatever differs from the server's defaults. */
export interface SubmitSpec {
  /** What people call the job. Need not be unique. */
  readonly name?: string | undefined;
  /** The program and its arguments, started as they are, without a shell. */
  readonly command?: readonly string[] | undefined;
  /** The text of a script, run by its own `#!` line, else by `/bin/sh`. */
  readonly script?: string | ScriptSpec | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Default: a fresh directory of the attempt's own. */
  readonly workingDirectory?: string | undefined;
  readonly stdin?: string | Uint8Array | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly resources?: ResourceSpec | undefined;
  /** Container image that holds the agent. Default: the provider's own. */
  readonly image?: string | undefined;
  /** From -1000 to 1000; higher runs first within a tenant. */
  readonly priority?: number | keyof typeof priorities | undefined;
  /** How long the job may wait for a worker. Default 24 hours. */
  readonly queueTimeoutMs?: number | undefined;
  /** How long one attempt may run. Default 1 hour. */
  readonly timeoutMs?: number | undefined;
  /** Between the polite signal and the kill. Default 30 seconds. */
  readonly cancelGraceMs?: number | undefined;
  /** How long an attempt may be without contact to the server. Default 10 minutes. */
  readonly disconnectToleranceMs?: number | undefined;
  readonly reschedule?: "after_loss" | "never" | undefined;
  /** How long the log is kept after the job's end. Default 7 days. */
  readonly logTtlMs?: number | undefined;
  /** How long the worker of an attempt that failed is kept, with its files. */
  readonly holdMs?: number | undefined;
  readonly retry?: RetrySpec | undefined;
  /** Where it should run; an object says whether it may run elsewhere. */
  readonly provider?: string | ProviderSpec | undefined;
}

export interface ScriptSpec {
  readonly content: string;
  /** The interpreter and its arguments, to which the file's path is added. */
  readonly interpreter?: readonly string[] | undefined;
}

export interface ResourceSpec {
  readonly cpuMillis?: number | undefined;
  readonly memoryBytes?: number | undefined;
  readonly diskBytes?: number | undefined;
  readonly gpuCount?: number | undefined;
  readonly gpuType?: string | undefined;
}

export interface RetrySpec {
  /** All attempts together. */
  readonly maxAttempts: number;
  readonly initialBackoffMs?: number | undefined;
  readonly maxBackoffMs?: number | undefined;
  readonly multiplier?: number | undefined;
  /** Default: every code but 0. */
  readonly retryableExitCodes?: readonly number[] | undefined;
  /** Whether an attempt is repeated that was lost after user code may have run. */
  readonly retryLost?: boolean | undefined;
}

export interface ProviderSpec {
  /** A provider's name or type. */
  readonly name?: string | undefined;
  /** Whether the job may run nowhere else. */
  readonly isStrict?: boolean | undefined;
  /** The strategy that chooses among providers. Default: the tenant's, else the server's. */
  readonly strategy?: string | undefined;
  /** Labels that the provider must have. */
  readonly requiredLabels?: Readonly<Record<string, string>> | undefined;
  readonly preferredLabels?: Readonly<Record<string, string>> | undefined;
  readonly preferredRegion?: string | undefined;
  /** Default: every region. */
  readonly allowedRegions?: readonly string[] | undefined;
  readonly architecture?: "amd64" | "arm64" | undefined;
  /** Runtimes that the provider must say it has, such as `python`. */
  readonly runtimes?: readonly string[] | undefined;
}

/** The spec of a job that the server has, defaults filled in; it can be submitted again. */
export type SpecView = Omit<JobSpec, "executionTimeoutMs"> & { readonly timeoutMs: number };

const nothing: Record<string, never> = {};
const noBytes = Buffer.alloc(0);

/** Builds the message that the generated codec encodes; nothing is checked here, the server does that. */
export function specToWire(spec: SubmitSpec): WireSpec {
  const { priority, reschedule } = spec;
  return {
    name: spec.name ?? "",
    // The codec only reads them.
    command: (spec.command ?? []) as string[],
    script: scriptToWire(spec.script),
    env: spec.env ?? nothing,
    workingDirectory: spec.workingDirectory ?? "",
    stdin: stdinToWire(spec.stdin),
    labels: spec.labels ?? nothing,
    annotations: spec.annotations ?? nothing,
    resources: spec.resources && {
      cpuMillis: spec.resources.cpuMillis ?? 0,
      memoryBytes: spec.resources.memoryBytes ?? 0,
      diskBytes: spec.resources.diskBytes ?? 0,
      gpuCount: spec.resources.gpuCount ?? 0,
      gpuType: spec.resources.gpuType ?? "",
    },
    image: spec.image ?? "",
    priority: typeof priority === "string" ? priorities[priority] : (priority ?? 0),
    queueTimeout: optionalDuration(spec.queueTimeoutMs),
    executionTimeout: optionalDuration(spec.timeoutMs),
    cancelGrace: optionalDuration(spec.cancelGraceMs),
    retry: spec.retry && retryToWire(spec.retry),
    provider: providerToWire(spec.provider),
    disconnectTolerance: optionalDuration(spec.disconnectToleranceMs),
    reschedule:
      reschedule === undefined
        ? ReschedulePolicy.RESCHEDULE_POLICY_UNSPECIFIED
        : reschedule === "never"
          ? ReschedulePolicy.RESCHEDULE_POLICY_NEVER
          : ReschedulePolicy.RESCHEDULE_POLICY_AFTER_LOSS,
    logTtl: optionalDuration(spec.logTtlMs),
    holdAfterFailure: optionalDuration(spec.holdMs),
  };
}

export function specView(wire: WireSpec): SpecView {
  const { executionTimeoutMs, ...rest } = specFromWire(wire);
  return { ...rest, timeoutMs: executionTimeoutMs };
}

function scriptToWire(script: SubmitSpec["script"]): WireSpec["script"] {
  if (script === undefined) return undefined;
  if (typeof script === "string") return { content: script, interpreter: [] };
  return { content: script.content, interpreter: [...(script.interpreter ?? [])] };
}

function stdinToWire(stdin: SubmitSpec["stdin"]): Buffer {
  if (stdin === undefined) return noBytes;
  if (typeof stdin === "string") return Buffer.from(stdin);
  return Buffer.from(stdin.buffer, stdin.byteOffset, stdin.byteLength);
}

function retryToWire(retry: RetrySpec): WireSpec["retry"] {
  return {
    maxAttempts: retry.maxAttempts,
    initialBackoff: optionalDuration(retry.initialBackoffMs),
    maxBackoff: optionalDuration(retry.maxBackoffMs),
    multiplier: retry.multiplier ?? 0,
    retryableExitCodes: [...(retry.retryableExitCodes ?? [])],
    retryLost: retry.retryLost ?? false,
  };
}

function providerToWire(provider: SubmitSpec["provider"]): WireSpec["provider"] {
  if (provider === undefined) return undefined;
  const wish: ProviderSpec = typeof provider === "string" ? { name: provider } : provider;
  return {
    name: wish.name ?? "",
    strict: wish.isStrict ?? false,
    strategy: wish.strategy ?? "",
    requiredLabels: { ...wish.requiredLabels },
    preferredLabels: { ...wish.preferredLabels },
    preferredRegion: wish.preferredRegion ?? "",
    allowedRegions: [...(wish.allowedRegions ?? [])],
    architecture: wish.architecture ?? "",
    runtimes: [...(wish.runtimes ?? [])],
  };
}

function optionalDuration(ms: number | undefined): WireSpec["logTtl"] {
  return ms === undefined ? undefined : durationOf(ms);
}
