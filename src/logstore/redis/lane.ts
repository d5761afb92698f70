import { Redis } from "ioredis";
import type { OneOptions } from "#store/redis/address.ts";
import { Flights } from "./flights.ts";
import { scripts } from "./scripts.ts";

export interface LaneOptions {
  readonly connection: OneOptions;
  /** Like no other's. */
  readonly name: string;
  /** Whether what was done is confirmed by a replica as well. */
  readonly isReplicated: boolean;
}

/**
 * The connections to one server, which come back by themselves: one on which logs change, in the order of the calls, and one for readers, so that what they fetch
 * delays no acknowledgement.
 */
export class Lane {
  readonly name: string;
  readonly writer: Redis;
  readonly reader: Redis;
  readonly flights: Flights;
  #connecting: Promise<void> | undefined;
  #connections = 0;

  constructor({ connection, name, isReplicated }: LaneOptions) {
    this.name = name;
    this.writer = new Redis(connection);
    this.reader = new Redis(connection);
    this.flights = new Flights({ redis: this.writer, isReplicated });
    for (const redis of [this.writer, this.reader]) redis.on("error", () => undefined); // It tries again.
    // A server that was started again knows no scripts; these come before whatever is called.
    this.writer.on("ready", () => {
      this.#connections++;
      for (const { text } of Object.values(scripts)) {
        this.writer.script("LOAD", text).catch(() => undefined);
      }
    });
  }

  /** Names the connection on which logs change, which is another one each time that it comes back. */
  get connection(): string {
    return `${this.name} ${this.#connections}`;
  }

  /** Whether commands can be sent. */
  get isUp(): boolean {
    return this.writer.status === "ready";
  }

  /** Resolves when commands can be sent, or rejects once the first try has failed. */
  connect(): Promise<void> {
    this.#connecting ??= Promise.all([this.writer.connect(), this.reader.connect()]).then(
      () => undefined,
    );
    return this.#connecting;
  }

  /** A connection for listening. */
  newListener(): Redis {
    return this.reader.duplicate({
      enableOfflineQueue: true,
      maxRetriesPerRequest: null,
      autoResubscribe: false,
      lazyConnect: true,
    });
  }

  close(): void {
    this.writer.disconnect();
    this.reader.disconnect();
  }
}
