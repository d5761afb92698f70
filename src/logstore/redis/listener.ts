import type { Redis } from "ioredis";
import { every, type Loop } from "#every.ts";
import type { Lane } from "./lane.ts";
import type { Lanes } from "./lanes.ts";

export interface ListenerOptions {
  readonly lanes: Lanes;
  readonly onTold: (channel: string) => void;
  /** Anything may have been told that was not heard. */
  readonly onMissed: () => void;
}

const pulseMs = 5_000;

/** Listens to channels, on a connection of its own to each server that has some of them. */
export class Listener implements AsyncDisposable {
  readonly #options: ListenerOptions;
  /** Each channel, and the name of the server that it is listened to at. */
  readonly #channels = new Map<string, string | undefined>();
  readonly #ears = new Map<string, Redis>();
  readonly #pulse: Loop;

  constructor(options: ListenerOptions) {
    this.#options = options;
    // Finds out when the other side is gone without a word.
    this.#pulse = every({ intervalMs: pulseMs, onError: () => undefined }, async () => {
      const ready = [...this.#ears.values()].filter(({ status }) => status === "ready");
      await Promise.allSettled(ready.map((ear) => ear.ping()));
    });
  }

  add(channel: string): void {
    this.#channels.set(channel, undefined);
    this.#place(channel);
  }

  remove(channel: string): void {
    const at = this.#channels.get(channel);
    this.#channels.delete(channel);
    this.#leave(channel, at);
  }

  /** Listens where the channels are by now. To be called every now and then. */
  look(): void {
    const { all } = this.#options.lanes;
    const names = new Set(all.map(({ name }) => name));
    for (const [name, ear] of this.#ears) {
      if (names.has(name)) continue;
      this.#ears.delete(name);
      ear.disconnect();
    }
    for (const channel of this.#channels.keys()) this.#place(channel);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#channels.clear();
    for (const ear of this.#ears.values()) ear.disconnect();
    await this.#pulse[Symbol.asyncDispose]();
  }

  #place(channel: string): void {
    const lane = this.#laneOf(channel);
    const at = this.#channels.get(channel);
    if (lane === undefined || (at === lane.name && this.#ears.has(at))) return;
    this.#leave(channel, at);
    this.#channels.set(channel, lane.name);
    void this.#subscribe(channel, lane);
  }

  async #subscribe(channel: string, lane: Lane): Promise<void> {
    const { lanes, onTold } = this.#options;
    const ear = this.#earOf(lane);
    try {
      await (lanes.isSpread ? ear.ssubscribe(channel) : ear.subscribe(channel));
      onTold(channel); // What happened before was not heard.
    } catch (error) {
      // The next look tries again.
      if (this.#channels.get(channel) === lane.name) this.#channels.set(channel, undefined);
      await lanes.moved(error);
    }
  }

  #leave(channel: string, at: string | undefined): void {
    const ear = at === undefined ? undefined : this.#ears.get(at);
    if (ear === undefined) return;
    const left = this.#options.lanes.isSpread
      ? ear.sunsubscribe(channel)
      : ear.unsubscribe(channel);
    left.catch(() => undefined);
  }

  #earOf(lane: Lane): Redis {
    const known = this.#ears.get(lane.name);
    if (known !== undefined) return known;
    const ear = lane.newListener();
    this.#ears.set(lane.name, ear);
    ear.on("error", () => undefined); // It tries again.
    const { onTold, onMissed } = this.#options;
    ear.on("message", onTold);
    ear.on("smessage", onTold);
    // A server lets go of channels whose slot it gives away. Who has it now may not be known yet.
    ear.on("moved", () => this.#forget(lane));
    ear.on("ready", () => {
      for (const channel of this.#forget(lane)) this.#place(channel);
      onMissed();
    });
    return ear;
  }

  /** Nothing is listened to at a server any more, as far as is known. Gives what was. */
  #forget({ name }: Lane): readonly string[] {
    const channels = [...this.#channels].filter(([, at]) => at === name).map(([one]) => one);
    for (const channel of channels) this.#channels.set(channel, undefined);
    return channels;
  }

  #laneOf(channel: string): Lane | undefined {
    const { lanes } = this.#options;
    try {
      return lanes.of(lanes.slotOf(channel));
    } catch {
      return undefined; // Nobody has it now.
    }
  }
}
