import type { GroupPlan } from "./control-groups.ts";

/** What the provider asks of its helper: one JSON line each, answered by `Answer` with the same `id`. */
export type Request =
  | { readonly op: "start"; readonly id: number; readonly worker: StartRequest }
  | {
      readonly op: "stop";
      readonly id: number;
      readonly workerId: string;
      readonly graceMs: number;
    }
  | { readonly op: "list"; readonly id: number }
  | {
      readonly op: "isDead";
      readonly id: number;
      readonly workerId: string;
      readonly uid: string | undefined;
    };

export interface StartRequest {
  readonly workerId: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Goes to descriptor 3 of the agent, and nowhere else. */
  readonly otp: string;
  /** PEM; written to a file of the worker's. */
  readonly serverCa: string | undefined;
  readonly maxWorkers: number;
  /** Where its processes are put before the agent gets its token, and so before any user code runs. */
  readonly groups: readonly GroupPlan[];
  /** Most data of each of its processes, where no group bounds them together; zero: no bound. */
  readonly dataBytes: number;
}

export type Answer =
  | { readonly op: "answer"; readonly id: number; readonly value: unknown }
  | {
      readonly op: "error";
      readonly id: number;
      readonly message: string;
      /** The worker certainly does not exist. */
      readonly isCertain: boolean;
    }
  | ({ readonly op: "gone" } & GoneWorker);

export interface GoneWorker {
  readonly workerId: string;
  readonly wasStopped: boolean;
  /** Undefined for one that an earlier helper started: nobody was told. */
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  /** How often the kernel has killed something in its groups for want of memory. */
  readonly memoryKills: number;
  /** The end of what it wrote. */
  readonly output: string;
}

export interface ListedEntry {
  readonly workerId: string;
  readonly uid: string;
  readonly isRunning: boolean;
}
