import { invalid } from "#error.ts";
import {
  CircuitState,
  type Provider as WireProvider,
  type ProviderEvent as WireEvent,
  type ProviderHealth,
  ProviderSource as WireSource,
  type ProviderTerms as WireTerms,
  type UpdateProviderRequest,
} from "#rpc/gen/hodei/v1/provider_service.ts";
import { dateOf, durationOf, msOf } from "#rpc/time.ts";
import {
  plainTerms,
  type ProviderEvent,
  type ProviderSource,
  type ProviderTerms,
} from "#worker/provider-record.ts";
import type { Credentials, EntryChange, ProviderEntry } from "./provider-registry.ts";
import { checkDuration } from "./validate.ts";

export const healths = ["healthy", "degraded", "unhealthy"] as const;

const sources: Readonly<Record<ProviderSource, WireSource>> = {
  env: WireSource.PROVIDER_SOURCE_ENVIRONMENT,
  file: WireSource.PROVIDER_SOURCE_FILE,
  api: WireSource.PROVIDER_SOURCE_API,
};

const circuits = {
  closed: CircuitState.CIRCUIT_STATE_CLOSED,
  half_open: CircuitState.CIRCUIT_STATE_HALF_OPEN,
  open: CircuitState.CIRCUIT_STATE_OPEN,
} as const;

export function providerToWire({ record, status }: ProviderEntry): WireProvider {
  return {
    id: record.id,
    name: record.name,
    type: record.type,
    health: (healths.indexOf(status.health) + 1) as ProviderHealth,
    reason: status.reason,
    maxWorkers: status.maxWorkers,
    workers: status.workers,
    capabilities: [...status.capabilities],
    enabled: status.isEnabled,
    terms: termsToWire(record),
    config: JSON.stringify(record.config),
    hasCredentials: record.hasCredentials,
    source: sources[record.source],
    circuit: circuits[status.circuit],
    circuitReason: status.circuitReason,
    healthScore: status.healthScore,
    startEstimate: durationOf(status.startEstimateMs),
    version: record.version,
    createdAt: dateOf(record.createdAt),
    updatedAt: dateOf(record.updatedAt),
  };
}

function termsToWire(terms: ProviderTerms): WireTerms {
  const { priority, maxWorkers, labels, region, architectures, runtimes } = terms;
  const { maxHours, pricePerHour, startDeadlineMs } = terms;
  return {
    priority,
    maxWorkers,
    labels: { ...labels },
    region,
    architectures: [...architectures],
    runtimes: [...runtimes],
    maxHours,
    pricePerHour: pricePerHour && { ...pricePerHour },
    startDeadline: startDeadlineMs === undefined ? undefined : durationOf(startDeadlineMs),
  };
}

/** What is absent is not said. Error: `invalid_argument`. */
export function termsFromWire(wire: WireTerms | undefined): ProviderTerms {
  if (wire === undefined) return plainTerms;
  const { priority, maxWorkers, labels, region, architectures, runtimes } = wire;
  const { maxHours, pricePerHour } = wire;
  checkDuration("terms.start_deadline", wire.startDeadline, [1_000, 86_400_000]);
  return {
    isEnabled: true,
    priority,
    maxWorkers,
    labels,
    region,
    architectures,
    runtimes,
    maxHours,
    pricePerHour,
    startDeadlineMs: msOf(wire.startDeadline),
  };
}

/** The fields of a mask that are terms. */
const termsOfMask: Readonly<Record<string, Exclude<keyof ProviderTerms, "isEnabled">>> = {
  priority: "priority",
  max_workers: "maxWorkers",
  labels: "labels",
  region: "region",
  architectures: "architectures",
  runtimes: "runtimes",
  max_hours: "maxHours",
  price_per_hour: "pricePerHour",
  start_deadline: "startDeadlineMs",
};

/** Only what the mask names. Error: `invalid_argument`. */
export function changeFromWire(request: UpdateProviderRequest): EntryChange {
  const mask = request.updateMask ?? [];
  if (mask.length === 0) throw invalid("update_mask", "names nothing");
  const given = termsFromWire(request.terms);
  const terms: Partial<Record<keyof ProviderTerms, unknown>> = {};
  for (const path of mask) {
    const field = Object.hasOwn(termsOfMask, path) ? termsOfMask[path] : undefined;
    if (field !== undefined) terms[field] = given[field];
    else if (path !== "config" && path !== "credentials") {
      const known = [...Object.keys(termsOfMask), "config", "credentials"].join(", ");
      throw invalid("update_mask", `${JSON.stringify(path.slice(0, 64))} is none of ${known}`);
    }
  }
  return {
    version: request.version === 0 ? undefined : request.version,
    terms: terms as EntryChange["terms"],
    ...(mask.includes("config") && { config: configFromWire(request.config) }),
    ...(mask.includes("credentials") && { credentials: credentialsFrom(request.credentials) }),
  };
}

/** Error: `invalid_argument` for what is no JSON object. */
export function configFromWire(text: string): Readonly<Record<string, unknown>> {
  if (text === "") return {};
  if (text.length > 64 * 1024) throw invalid("config", "has more than 65536 characters");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw invalid("config", "is not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalid("config", "is not a JSON object");
  }
  return value as Readonly<Record<string, unknown>>;
}

/** Undefined where nothing is given. */
export function credentialsFrom(given: Credentials | undefined): Credentials | undefined {
  if (given === undefined) return undefined;
  const { kubeconfig, dockerCa, dockerCert, dockerKey } = given;
  const isGiven = [kubeconfig, dockerCa, dockerCert, dockerKey].some((text) => text !== "");
  return isGiven ? { kubeconfig, dockerCa, dockerCert, dockerKey } : undefined;
}

export function eventToWire(event: ProviderEvent): WireEvent {
  const { sequence, at, kind, from, to, reason, actor } = event;
  return { sequence, at: dateOf(at), kind, from, to, reason, actor };
}
