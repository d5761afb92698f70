import type { Config } from "#config.ts";
import { classKeyOf, classOf, noPreference } from "#worker/class.ts";
import { defaultLimits, type SchedulerLimits, type WorkerReuse } from "#scheduler/start-options.ts";
import type { WarmWish } from "#scheduler/place.ts";
import type { SpecDefaults } from "#rpc/spec.ts";
import { specDefaults } from "#rpc/spec.ts";

// What the parts of a server want to know, from its configuration.

/** More than a worker can run in its life; the wire has 32 bits for it. */
const unlimitedJobs = 2 ** 31 - 1;

export function schedulerLimits(config: Config): SchedulerLimits {
  return {
    ...defaultLimits,
    provisionIntervalMs: config.provisionIntervalMs,
    reapIntervalMs: Math.min(config.reapIntervalMs, defaultLimits.reapIntervalMs),
    listIntervalMs: config.reapIntervalMs,
    sweepIntervalMs: config.sweepIntervalMs,
    startDeadlineMs: config.startDeadlineMs,
    gpuStartDeadlineMs: config.gpuStartDeadlineMs,
    circuitFailures: config.circuitFailures,
    circuitOpenMs: config.circuitOpenMs,
    hedgeAfterMs: config.hedgeAfterMs === 0 ? undefined : config.hedgeAfterMs,
    hedgePriority: config.hedgePriority,
    attemptStartMs: config.assignDeadlineMs,
    otpSlackMs: config.otpSlackMs,
    maxInfraRetries: config.maxInfraRetries,
    suspectMs: config.suspectAfterMs,
    disconnectToleranceMs: config.disconnectToleranceMs,
    graceMs: config.disconnectGraceMs,
    jobTtlMs: config.jobTtlMs,
  };
}

export function workerReuse(config: Config): WorkerReuse {
  return {
    slots: config.workerSlots,
    maxJobs: config.workerMaxJobs === 0 ? unlimitedJobs : config.workerMaxJobs,
    idleTimeoutMs: config.workerIdleTimeoutMs,
    sameTenantOnly: config.workerSameTenant,
  };
}

export function warmWishes(config: Config): WarmWish[] {
  const { executionTimeoutMs } = config;
  return config.warmPool.map(({ count, image, provider, tenant, strict, ...resources }) => {
    // Of jobs that say no time of their own, and insist on the provider or name none.
    const preference = strict ? { ...noPreference, name: provider, isStrict: true } : undefined;
    return {
      classKey: classKeyOf(classOf({ image, resources, provider: preference, executionTimeoutMs })),
      // A class that insists on a provider may call it by any of its names.
      provider: strict || provider === "" ? undefined : provider,
      tenant: tenant === "" ? undefined : tenant,
      count,
    };
  });
}

/** What a job spec means where it is silent. */
export function jobDefaults(config: Config): SpecDefaults {
  return {
    ...specDefaults,
    queueTimeoutMs: config.queueTimeoutMs,
    executionTimeoutMs: config.executionTimeoutMs,
    cancelGraceMs: config.cancelGraceMs,
    disconnectToleranceMs: config.disconnectToleranceMs,
    logTtlMs: config.logTtlMs,
  };
}
