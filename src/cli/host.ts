import type { Readable, Writable } from "node:stream";

/** A control plane that lives in this process. */
export interface LocalServer extends AsyncDisposable {
  readonly address: string;
  /** Leaves its log behind, and says where. */
  readonly keepLog: () => string;
}

/** Everything that the command is given from outside; `main.ts` fills it in, tests replace it. */
export interface Host {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly stdin: Readable;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Calls the listener every time that the user asks for an end. */
  readonly onInterrupt: (listener: () => void) => Disposable;
  readonly startLocalServer: () => Promise<LocalServer>;
  /** Serves until it is stopped; gives the exit code. */
  readonly serve: () => Promise<number>;
  readonly runAgent: () => Promise<number>;
  /** Error: `invalid_argument` for a wish that nothing can be printed for. */
  readonly readManifests: (wish: ManifestWish) => Promise<Manifests>;
  /** Looks at what a server with this environment would need. */
  readonly diagnose: () => Promise<Diagnosis>;
  /** Fills the empty data directory that the environment names with a backup. Error: a `HodeiError` that says why not. */
  readonly restore: (from: string) => Promise<Restored>;
  /** Copies a store that no server uses into an empty one; gives how much of what. Error: a `HodeiError` that says why not. */
  readonly copyStore: (places: StoreCopy) => Promise<Readonly<Record<string, number>>>;
}

/** What differs from the settings in the environment. */
export interface ManifestWish {
  readonly profile?: "standard" | "legacy";
  /** Of the workers. */
  readonly namespace?: string;
  readonly serverNamespace?: string;
  /** Of the workers. */
  readonly image?: string;
  readonly serverImage?: string;
  readonly pullSecret?: string;
  readonly tenantNamespaces?: boolean;
  readonly store?: "embedded" | "redis";
  /** Of the server. */
  readonly replicas?: number;
  readonly hpa?: boolean;
  /** These groups of them. */
  readonly only?: readonly string[];
  /** Not these groups. */
  readonly without?: readonly string[];
}

export interface Manifests {
  /** Which groups of them. */
  readonly groups: readonly string[];
  readonly objects: readonly unknown[];
  /** The same as YAML. */
  readonly text: string;
}

export interface Diagnosis {
  readonly checks: readonly HealthCheck[];
  /** Whether everything that was asked has answered. */
  readonly isReachable: boolean;
}

export interface Restored {
  /** The data directory. */
  readonly directory: string;
  readonly files: number;
  /** When the backup was written. */
  readonly createdAt: string;
}

/** Stores: a data directory, the URL of a Redis with the name of the instance behind `#`, or a file whose name ends in `.ndjson`. */
export interface StoreCopy {
  readonly from: string;
  readonly to: string;
}

export interface HealthCheck {
  readonly name: string;
  readonly ok: "pass" | "warn" | "fail";
  readonly message: string;
  /** What to do about it; empty where nothing has to be done. */
  readonly hint: string;
}

export interface Output extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}
