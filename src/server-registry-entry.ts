import { HodeiError } from "#error.ts";
import type { ProviderSettings } from "#scheduler/scheduler.ts";
import type { ProviderRecord } from "#worker/provider-record.ts";
import type { LateProvider } from "./server-provider-late.ts";

/** A record with what stands behind it. */
export interface RegistryEntry {
  readonly record: ProviderRecord;
  readonly provider: LateProvider;
  /** Why a call can neither remove it nor change what it connects to; undefined: it can. */
  readonly pinned: string | undefined;
  /** No setting and no file names it any more: only the workers that it has are looked after. */
  readonly isLeftOver: boolean;
}

/** What the scheduler is told of it. */
export function settingsOf(
  { record, isLeftOver }: RegistryEntry,
  standardWorkers: number | undefined,
): ProviderSettings {
  const { id, isEnabled, priority, labels, region, architectures, runtimes, maxHours } = record;
  const { pricePerHour, startDeadlineMs } = record;
  return {
    id,
    isEnabled: isEnabled && !isLeftOver,
    priority,
    maxWorkers: record.maxWorkers ?? standardWorkers,
    labels,
    region,
    architectures,
    runtimes,
    maxHours,
    pricePerHour,
    startDeadlineMs,
  };
}

/** What its inside is opened with. */
export function connectsTo({ config, secret }: ProviderRecord): string {
  return JSON.stringify([config, secret && Buffer.from(secret).toString("base64")]);
}

export function wordOf(isEnabled: boolean): string {
  return isEnabled ? "enabled" : "disabled";
}

export function unknownProvider(name: string): HodeiError {
  return new HodeiError("not_found", `there is no provider ${name.slice(0, 64)}`);
}

/** Whoever gave what cannot be opened is told why. */
export async function refusing<Opened>(opening: Promise<Opened>): Promise<Opened> {
  try {
    return await opening;
  } catch (cause) {
    if (cause instanceof HodeiError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new HodeiError("invalid_argument", `it cannot be opened: ${message}`, { cause });
  }
}
