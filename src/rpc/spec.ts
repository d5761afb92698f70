import type { JobSpec, ProviderPreference, RetryPolicy } from "#job/job.ts";
import { JobSpec as WireSpec, ReschedulePolicy } from "./gen/hodei/v1/job.ts";
import { durationOf, msOf } from "./time.ts";

/** What a spec means where it is silent (DESIGN §7). */
export const specDefaults = {
  queueTimeoutMs: 24 * 3_600_000,
  executionTimeoutMs: 3_600_000,
  cancelGraceMs: 30_000,
  disconnectToleranceMs: 600_000,
  logTtlMs: 7 * 24 * 3_600_000,
  initialBackoffMs: 1_000,
  maxBackoffMs: 300_000,
  multiplier: 2,
} as const;

export type SpecDefaults = { readonly [Key in keyof typeof specDefaults]: number };

/** A spec from the wire with every default filled in. Nothing is checked here; `api` does that before. */
export function specFromWire(wire: WireSpec, defaults: SpecDefaults = specDefaults): JobSpec {
  return {
    name: wire.name,
    command: wire.command,
    script: wire.script,
    env: wire.env,
    workingDirectory: wire.workingDirectory,
    stdin: wire.stdin,
    labels: wire.labels,
    annotations: wire.annotations,
    resources: wire.resources ?? noResources,
    image: wire.image,
    priority: wire.priority,
    queueTimeoutMs: msOf(wire.queueTimeout) ?? defaults.queueTimeoutMs,
    executionTimeoutMs: msOf(wire.executionTimeout) ?? defaults.executionTimeoutMs,
    cancelGraceMs: msOf(wire.cancelGrace) ?? defaults.cancelGraceMs,
    disconnectToleranceMs: msOf(wire.disconnectTolerance) ?? defaults.disconnectToleranceMs,
    reschedule:
      wire.reschedule === ReschedulePolicy.RESCHEDULE_POLICY_NEVER ? "never" : "after_loss",
    logTtlMs: msOf(wire.logTtl) ?? defaults.logTtlMs,
    holdMs: msOf(wire.holdAfterFailure) ?? 0,
    retry: retryFromWire(wire.retry, defaults),
    provider: providerFromWire(wire.provider),
  };
}

/** The spec on the wire, defaults filled in. */
export function specToWire(spec: JobSpec): WireSpec {
  return {
    name: spec.name,
    command: [...spec.command],
    script: spec.script && { ...spec.script, interpreter: [...spec.script.interpreter] },
    env: { ...spec.env },
    workingDirectory: spec.workingDirectory,
    stdin: Buffer.from(spec.stdin),
    labels: { ...spec.labels },
    annotations: { ...spec.annotations },
    resources: { ...spec.resources },
    image: spec.image,
    priority: spec.priority,
    queueTimeout: durationOf(spec.queueTimeoutMs),
    executionTimeout: durationOf(spec.executionTimeoutMs),
    cancelGrace: durationOf(spec.cancelGraceMs),
    disconnectTolerance: durationOf(spec.disconnectToleranceMs),
    reschedule:
      spec.reschedule === "never"
        ? ReschedulePolicy.RESCHEDULE_POLICY_NEVER
        : ReschedulePolicy.RESCHEDULE_POLICY_AFTER_LOSS,
    logTtl: durationOf(spec.logTtlMs),
    holdAfterFailure: spec.holdMs === 0 ? undefined : durationOf(spec.holdMs),
    retry: {
      maxAttempts: spec.retry.maxAttempts,
      initialBackoff: durationOf(spec.retry.initialBackoffMs),
      maxBackoff: durationOf(spec.retry.maxBackoffMs),
      multiplier: spec.retry.multiplier,
      retryableExitCodes: [...spec.retry.retryableExitCodes],
      retryLost: spec.retry.retryLost,
    },
    provider: spec.provider && providerToWire(spec.provider),
  };
}

/** The bytes that are stored and sent to the agent. */
export function encodeSpec(spec: JobSpec): Uint8Array {
  return WireSpec.encode(specToWire(spec)).finish();
}

export function decodeSpec(bytes: Uint8Array): JobSpec {
  return specFromWire(WireSpec.decode(bytes));
}

const noResources = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };

function retryFromWire(wire: WireSpec["retry"], defaults: SpecDefaults): RetryPolicy {
  return {
    maxAttempts: wire?.maxAttempts || 1,
    initialBackoffMs: msOf(wire?.initialBackoff) ?? defaults.initialBackoffMs,
    maxBackoffMs: msOf(wire?.maxBackoff) ?? defaults.maxBackoffMs,
    multiplier: wire?.multiplier || defaults.multiplier,
    retryableExitCodes: wire?.retryableExitCodes ?? [],
    retryLost: wire?.retryLost ?? false,
  };
}

function providerFromWire(wire: WireSpec["provider"]): ProviderPreference | undefined {
  if (wire === undefined) return undefined;
  const { strict: isStrict, ...rest } = wire;
  const isSaid = Object.values(rest).some((wish) => Object.keys(wish).length > 0);
  return isSaid ? { ...rest, isStrict } : undefined;
}

function providerToWire(preference: ProviderPreference): WireSpec["provider"] {
  const { isStrict: strict, requiredLabels, preferredLabels, allowedRegions } = preference;
  const { name, strategy, preferredRegion, architecture, runtimes } = preference;
  return {
    name,
    strict,
    strategy,
    requiredLabels: { ...requiredLabels },
    preferredLabels: { ...preferredLabels },
    preferredRegion,
    allowedRegions: [...allowedRegions],
    architecture,
    runtimes: [...runtimes],
  };
}
