import type { Address } from "#store/redis/address.ts";
import { clusterOptions, connectionOptions } from "#store/redis/address.ts";
import { ClusterLanes } from "./cluster-lanes.ts";
import { Lane } from "./lane.ts";

/** The servers that keep the logs of an instance, and which of them has what. */
export interface Lanes extends AsyncDisposable {
  /** Whether they are several, so that what is sent later may be done earlier unless both concern one slot. */
  readonly isSpread: boolean;
  readonly all: readonly Lane[];
  slotOf(key: string): number;
  /** Error: `unavailable` when nobody is known to have the slot. */
  of(slot: number): Lane;
  /** Connects to all. */
  connect(): Promise<void>;
  /** Looks again who has what, since a server said so; false when `error` does not say that. */
  moved(error: unknown): Promise<boolean>;
}

/** Error: `invalid_argument` when the URL is none. */
export function lanesOf(address: Address, isReplicated: boolean): Lanes {
  const cluster = clusterOptions(address);
  if (cluster !== undefined) return new ClusterLanes({ ...cluster, isReplicated });
  const connection = connectionOptions(address);
  const lane = new Lane({ connection, name: "", isReplicated });
  return {
    isSpread: false,
    all: [lane],
    slotOf: () => 0,
    of: () => lane,
    connect: () => lane.connect(),
    moved: async () => false,
    [Symbol.asyncDispose]: async () => lane.close(),
  };
}
