import { HodeiError } from "#error.ts";
import { every, type Loop } from "#every.ts";
import type { OneOptions } from "#store/redis/address.ts";
import { findSlots, type Node, type SlotMap } from "#store/redis/cluster.ts";
import { Lane } from "./lane.ts";
import type { Lanes } from "./lanes.ts";
import { slotCount, slotOf } from "./slot.ts";

export interface ClusterLanesOptions {
  /** Whom to ask first. */
  readonly nodes: readonly Node[];
  readonly options: OneOptions;
  readonly isReplicated: boolean;
}

/** How often it is looked whether a server is away, and how often who has what when none is. */
const roundMs = 500;
const refreshMs = 5_000;

/** The primaries of a cluster. Whoever takes the place of one is found by asking the others, a slot that was given away by the answer of the one that had it. */
export class ClusterLanes implements Lanes {
  readonly isSpread = true;
  readonly slotOf = slotOf;
  readonly #options: ClusterLanesOptions;
  readonly #connection: OneOptions;
  readonly #lanes = new Map<string, Lane>();
  readonly #bySlot: (Lane | undefined)[] = Array.from({ length: slotCount });
  #known: readonly Node[] = [];
  #loop: Loop | undefined;
  #refreshedAt = -Infinity;
  #isClosed = false;

  constructor(options: ClusterLanesOptions) {
    this.#options = options;
    // That a slot is elsewhere is no reason to connect again.
    const { reconnectOnError: _, ...connection } = options.options;
    this.#connection = connection;
  }

  get all(): readonly Lane[] {
    return [...this.#lanes.values()];
  }

  of(slot: number): Lane {
    const lane = this.#bySlot[slot];
    if (lane !== undefined) return lane;
    throw new HodeiError("unavailable", "nobody in the cluster of Redis has that slot");
  }

  /** Errors: `failed_precondition` when the servers are no cluster, and what the first of them says that cannot be reached. */
  async connect(): Promise<void> {
    await this.#refresh();
    await Promise.all(this.all.map((lane) => lane.connect()));
    const options = { intervalMs: roundMs, onError: () => undefined };
    this.#loop = every(options, () => this.#look());
  }

  async moved(error: unknown): Promise<boolean> {
    const text = error instanceof Error ? error.message : "";
    const [, slot, host = "", port] = /^MOVED (\d+) (.*):(\d+)$/.exec(text) ?? [];
    if (slot === undefined || this.#isClosed) return false;
    // A server that does not know its name has the one that it was reached by.
    const node = { host: host === "" ? this.#hostOf(Number(slot)) : host, port: Number(port) };
    const lane = this.#laneOf(node);
    await lane.connect().catch(() => undefined); // It tries again.
    this.#bySlot[Number(slot)] = lane;
    this.#refreshedAt = -Infinity;
    this.#loop?.wake();
    return true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    for (const lane of this.#lanes.values()) lane.close();
    await this.#loop?.[Symbol.asyncDispose]();
  }

  async #look(): Promise<void> {
    const isOld = performance.now() - this.#refreshedAt > refreshMs;
    if (isOld || this.all.some(({ isUp }) => !isUp)) await this.#refresh();
  }

  async #refresh(): Promise<void> {
    const { nodes: seeds } = this.#options;
    const map = await findSlots({ known: this.#known, seeds }, this.#connection).catch(noCluster);
    if (this.#isClosed) return;
    this.#known = map.nodes;
    const owners = map.ranges.flatMap(({ owner }) => owner ?? []);
    // One that cannot be reached is tried again, and is the owner anyway.
    await Promise.allSettled(owners.map((owner) => this.#laneOf(owner).connect()));
    if (this.#isClosed) return;
    this.#take(map);
    this.#refreshedAt = performance.now();
  }

  #take({ ranges }: SlotMap): void {
    this.#bySlot.fill(undefined);
    const used = new Set<Lane>();
    for (const { from, to, owner } of ranges) {
      if (owner === undefined) continue;
      const lane = this.#laneOf(owner);
      used.add(lane);
      this.#bySlot.fill(lane, from, to + 1);
    }
    for (const [name, lane] of this.#lanes) {
      if (used.has(lane)) continue;
      this.#lanes.delete(name);
      lane.close();
    }
  }

  #laneOf(node: Node): Lane {
    const name = `${node.host}:${node.port}`;
    const { isReplicated } = this.#options;
    let lane = this.#lanes.get(name);
    if (lane === undefined) {
      lane = new Lane({ connection: { ...this.#connection, ...node }, name, isReplicated });
      this.#lanes.set(name, lane);
    }
    return lane;
  }

  #hostOf(slot: number): string {
    return this.#bySlot[slot]?.writer.options.host ?? "";
  }
}

function noCluster(cause: unknown): never {
  const text = cause instanceof Error ? cause.message : "";
  if (!text.includes("cluster support disabled")) throw cause;
  const hint = "redis://host:6379 is the URL of a single server";
  throw new HodeiError("failed_precondition", "the server is none of a cluster", { cause, hint });
}
