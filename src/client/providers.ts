import {
  type Provider as WireProvider,
  type ProviderEvent as WireEvent,
  type ProviderHealth as WireHealth,
  ProviderServiceService,
  type ProviderTerms as WireTerms,
} from "#rpc/gen/hodei/v1/provider_service.ts";
import { durationOf, msOf } from "#rpc/time.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { given } from "./error.ts";
import { allPages } from "./pages.ts";

const healths = ["healthy", "degraded", "unhealthy"] as const;
const circuits = ["closed", "half_open", "open"] as const;
const sources = ["environment", "file", "api"] as const;

export type ProviderHealth = (typeof healths)[number];

/** Something that starts workers. Nobody is shown its credentials. */
export interface Provider
  extends
    Omit<
      WireProvider,
      "health" | "enabled" | "terms" | "config" | "circuit" | "source" | "startEstimate"
    >,
    ProviderTerms {
  readonly health: ProviderHealth | "unknown";
  readonly isEnabled: boolean;
  /** What the operator said; `maxWorkers` is what holds now. */
  readonly workerLimit: number | undefined;
  /** How it differs from the server's settings for its type. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly circuit: (typeof circuits)[number] | "unknown";
  readonly source: (typeof sources)[number] | "unknown";
  readonly startEstimateMs: number;
}

/** What an operator says of a provider and may change at any time. */
export interface ProviderTerms {
  /** Higher comes first where a strategy keeps the order. */
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly region: string;
  /** Empty: any. */
  readonly architectures: readonly string[];
  /** What its workers can run; a job that asks for more runs elsewhere. */
  readonly runtimes: readonly string[];
  /** The longest time that a job may run there, in hours; 0: no bound. */
  readonly maxHours: number;
  /** Of an hour of one unit; undefined: its own. */
  readonly pricePerHour: UnitPrices | undefined;
  /** How long a worker may take until it dials back; undefined: as everywhere. */
  readonly startDeadlineMs: number | undefined;
}

export interface UnitPrices {
  readonly cpuCore: number;
  readonly memoryGib: number;
  readonly gpu: number;
}

/** What a provider proves itself with. The server keeps it encrypted, and gives it to nobody. */
export interface ProviderCredentials {
  /** The text of a kubeconfig, with embedded certificates or a token. */
  readonly kubeconfig?: string | undefined;
  /** PEM, for a Docker engine. */
  readonly dockerCa?: string | undefined;
  readonly dockerCert?: string | undefined;
  readonly dockerKey?: string | undefined;
}

export interface NewProvider extends Partial<ProviderTerms> {
  readonly name: string;
  readonly type: "kubernetes" | "docker" | "process";
  /** Default: as the server's settings say for the type. */
  readonly maxWorkers?: number | undefined;
  readonly config?: Readonly<Record<string, unknown>> | undefined;
  readonly credentials?: ProviderCredentials | undefined;
  /** Default true. */
  readonly isEnabled?: boolean | undefined;
}

/** What is there is changed, also to `undefined`; the rest stays. */
export interface ProviderUpdate extends Partial<ProviderTerms> {
  readonly maxWorkers?: number | undefined;
  /** Only while it has no workers. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly credentials?: ProviderCredentials | undefined;
  /** The version that is changed; another one throws `ABORTED`. */
  readonly version?: number;
}

/** All conditions must hold. */
export interface ProviderFilter extends CallOptions {
  readonly type?: string | undefined;
  readonly health?: ProviderHealth | undefined;
  readonly isEnabled?: boolean | undefined;
  /** Only those that could be given a worker now. */
  readonly onlyWithCapacity?: boolean | undefined;
}

export interface ProviderStats {
  readonly totalProviders: number;
  readonly enabledProviders: number;
  readonly healthyProviders: number;
  readonly providersWithCapacity: number;
  readonly totalMaxWorkers: number;
  readonly totalActiveWorkers: number;
  readonly utilizationPercent: number;
}

export type ProviderEvent = WireEvent;

/** Providers: for operators; adding, changing and removing them for admins. They are named by their name or id. */
export class Providers {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** By name. */
  async list(filter: ProviderFilter = {}): Promise<Provider[]> {
    const { type = "", health, isEnabled: enabled, onlyWithCapacity = false } = filter;
    const wanted = (health === undefined ? 0 : healths.indexOf(health) + 1) as WireHealth;
    const request = { type, health: wanted, enabled, onlyWithCapacity };
    const method = ProviderServiceService.listProviders;
    const { providers } = await this.#channel.call(method, request, filter);
    return providers.map(providerFromWire);
  }

  async get(name: string, options: CallOptions = {}): Promise<Provider> {
    const method = ProviderServiceService.getProvider;
    const { provider } = await this.#channel.call(method, { name }, options);
    return providerFromWire(given(provider));
  }

  /** It is used at once. Not repeated when its outcome is unknown. */
  async register(wish: NewProvider, options: CallOptions = {}): Promise<Provider> {
    const { name, type, config, credentials, isEnabled = true } = wish;
    const request = {
      name,
      type,
      config: config === undefined ? "" : JSON.stringify(config),
      credentials: credentialsToWire(credentials),
      terms: termsToWire(wish),
      disabled: !isEnabled,
    };
    const method = ProviderServiceService.registerProvider;
    const { provider } = await this.#channel.callOnce(method, request, options);
    return providerFromWire(given(provider));
  }

  /** Workers that it has go on. Not repeated when its outcome is unknown. */
  async update(name: string, change: ProviderUpdate, options: CallOptions = {}): Promise<Provider> {
    const { config = {}, credentials, version = 0 } = change;
    const request = {
      name,
      updateMask: Object.keys(change).flatMap((key) => maskNames[key] ?? []),
      terms: termsToWire(change),
      config: JSON.stringify(config),
      credentials: credentialsToWire(credentials),
      version,
    };
    const method = ProviderServiceService.updateProvider;
    const { provider } = await this.#channel.callOnce(method, request, options);
    return providerFromWire(given(provider));
  }

  async enable(name: string, options: CallOptions = {}): Promise<Provider> {
    const method = ProviderServiceService.enableProvider;
    const { provider } = await this.#channel.call(method, { name }, options);
    return providerFromWire(given(provider));
  }

  /** It is given no new workers; what runs there goes on. */
  async disable(
    name: string,
    options: CallOptions & { readonly reason?: string | undefined } = {},
  ): Promise<Provider> {
    const method = ProviderServiceService.disableProvider;
    const request = { name, reason: options.reason ?? "" };
    const { provider } = await this.#channel.call(method, request, options);
    return providerFromWire(given(provider));
  }

  /** While it has workers it throws `FAILED_PRECONDITION`. */
  async remove(name: string, options: CallOptions = {}): Promise<void> {
    await this.#channel.callOnce(ProviderServiceService.deleteProvider, { name }, options);
  }

  async stats(options: CallOptions = {}): Promise<ProviderStats> {
    return this.#channel.call(ProviderServiceService.getProviderStats, {}, options);
  }

  /** What happened to it, newest first. */
  async *events(
    name: string,
    { signal }: CallOptions = {},
  ): AsyncGenerator<ProviderEvent, void, undefined> {
    yield* allPages(async (page) => {
      const method = ProviderServiceService.listProviderEvents;
      const answer = await this.#channel.call(method, { name, ...page }, { signal });
      return { items: answer.events, next: answer.nextPageToken };
    });
  }
}

/** The names that an update mask has for what is changed. */
const maskNames: Readonly<Record<string, string>> = {
  priority: "priority",
  maxWorkers: "max_workers",
  labels: "labels",
  region: "region",
  architectures: "architectures",
  runtimes: "runtimes",
  maxHours: "max_hours",
  pricePerHour: "price_per_hour",
  startDeadlineMs: "start_deadline",
  config: "config",
  credentials: "credentials",
};

function termsToWire(
  terms: Partial<ProviderTerms> & { readonly maxWorkers?: number | undefined },
): WireTerms {
  const { maxWorkers, pricePerHour, startDeadlineMs } = terms;
  return {
    priority: terms.priority ?? 0,
    maxWorkers,
    labels: { ...terms.labels },
    region: terms.region ?? "",
    architectures: [...(terms.architectures ?? [])],
    runtimes: [...(terms.runtimes ?? [])],
    maxHours: terms.maxHours ?? 0,
    pricePerHour: pricePerHour && { ...pricePerHour },
    startDeadline: startDeadlineMs === undefined ? undefined : durationOf(startDeadlineMs),
  };
}

function credentialsToWire(credentials: ProviderCredentials | undefined) {
  if (credentials === undefined) return undefined;
  const { kubeconfig = "", dockerCa = "", dockerCert = "", dockerKey = "" } = credentials;
  return { kubeconfig, dockerCa, dockerCert, dockerKey };
}

function providerFromWire(wire: WireProvider): Provider {
  const { health, enabled, terms, config, circuit, source, startEstimate, ...rest } = wire;
  const { maxWorkers: workerLimit, startDeadline, ...said } = given(terms);
  return {
    ...rest,
    ...said,
    workerLimit,
    startDeadlineMs: msOf(startDeadline),
    health: healths[health - 1] ?? "unknown",
    isEnabled: enabled,
    config: JSON.parse(config === "" ? "{}" : config) as Readonly<Record<string, unknown>>,
    circuit: circuits[circuit - 1] ?? "unknown",
    source: sources[source - 1] ?? "unknown",
    startEstimateMs: msOf(startEstimate) ?? 0,
  };
}
