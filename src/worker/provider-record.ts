export const providerTypes = ["kubernetes", "docker", "process"] as const;
export type ProviderType = (typeof providerTypes)[number];

/** Where a record comes from: the server's own settings, its file of providers, or a call. */
export const providerSources = ["env", "file", "api"] as const;
export type ProviderSource = (typeof providerSources)[number];

/** Words that name a type of provider and not one of them. */
export const typeAliases: Readonly<Record<string, string>> = {
  k8s: "kubernetes",
  kube: "kubernetes",
  kuber: "kubernetes",
  gke: "kubernetes",
};

export interface ProviderPrices {
  readonly cpuCore: number;
  readonly memoryGib: number;
  readonly gpu: number;
}

/** What an operator says of a provider and may change at any time. */
export interface ProviderTerms {
  /** One that is not is given no new workers; what runs there goes on. */
  readonly isEnabled: boolean;
  /** Higher comes first where a strategy keeps the order. */
  readonly priority: number;
  /** Undefined: as the server's settings say for the type. */
  readonly maxWorkers: number | undefined;
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: not said. */
  readonly region: string;
  /** Empty: any. */
  readonly architectures: readonly string[];
  /** What its workers can run; a job that asks for more runs elsewhere. */
  readonly runtimes: readonly string[];
  /** The longest time that a job may run there; 0: no bound. */
  readonly maxHours: number;
  /** Undefined: the provider's own. */
  readonly pricePerHour: ProviderPrices | undefined;
  /** How long a worker may take until it dials back; undefined: as everywhere. */
  readonly startDeadlineMs: number | undefined;
}

/** A provider as the store keeps it. Times are milliseconds since 1970. */
export interface ProviderRecord extends ProviderTerms {
  readonly id: string;
  /** Unique among a server's providers, and never changed: workers refer to it. */
  readonly name: string;
  readonly type: ProviderType;
  readonly source: ProviderSource;
  /** How it differs from the server's settings for its type; nothing secret. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Its credentials, sealed; undefined: none of its own. */
  readonly secret: Uint8Array | undefined;
  /** Grows by one with every change. */
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** Something that happened to a provider. */
export interface ProviderEvent {
  readonly sequence: number;
  readonly at: number;
  readonly provider: string;
  readonly kind: "registered" | "changed" | "enabled" | "health" | "circuit";
  /** What it was and what it is, in a word; empty where there is no such word. */
  readonly from: string;
  readonly to: string;
  readonly reason: string;
  /** Empty: the server by itself. */
  readonly actor: string;
}

/** What servers have come to know of a provider, for those that come after them and for those that only look. */
export interface ProviderState {
  readonly provider: string;
  /** When it was so. */
  readonly at: number;
  /** JSON of whoever wrote it; a store never looks inside. */
  readonly data: string;
}

/** Of a provider of which nobody has said anything. */
export const plainTerms: ProviderTerms = {
  isEnabled: true,
  priority: 0,
  maxWorkers: undefined,
  labels: {},
  region: "",
  architectures: [],
  runtimes: [],
  maxHours: 0,
  pricePerHour: undefined,
  startDeadlineMs: undefined,
};

const idPattern = /^p[0-9a-f]{16}$/;
const namePattern = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;

/** The id of 8 random bytes. */
export function providerIdOf(random: Uint8Array): string {
  return `p${Buffer.from(random).toString("hex").slice(0, 16)}`;
}

export function isProviderId(text: string): boolean {
  return idPattern.test(text);
}

export function isProviderType(text: string): text is ProviderType {
  return (providerTypes as readonly string[]).includes(text);
}

/** Why nobody can give a provider this name; undefined when it is free to be given. */
export function providerNameProblem(name: string): string | undefined {
  if (!namePattern.test(name)) {
    return "has to be lower-case letters, digits and inner hyphens or dots, at most 63";
  }
  if (isProviderId(name)) return "looks like the id of a provider";
  // A job that insists on a type must not end up with whatever is called like it.
  if (isProviderType(name) || Object.hasOwn(typeAliases, name)) {
    return `${name} names a type of provider; choose another name`;
  }
  return undefined;
}
