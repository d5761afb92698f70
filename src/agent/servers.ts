import type { ChannelCredentials } from "@grpc/grpc-js";
import { Backoff } from "./backoff.ts";
import { placeAfter } from "#addresses.ts";
import { channelOptions } from "#rpc/channel.ts";
import { AgentServiceClient } from "#rpc/gen/hodei/v1/agent_service.ts";

/** A replica that an agent dials. */
export interface Server {
  readonly address: string;
  readonly client: AgentServiceClient;
}

const silenceMs = 10_000;

export interface ServersOptions {
  readonly serverAddresses: readonly string[];
  readonly credentials: ChannelCredentials;
  /** Longest pause between two tries. */
  readonly reconnectMaxMs: number;
}

/** The replicas that an agent may dial, of which it uses one at a time. It begins with any, so that the agents of a server are spread. */
export class Servers {
  readonly #addresses: readonly string[];
  readonly #credentials: ChannelCredentials;
  readonly #backoffs: Backoff[] = [];
  #reconnectMaxMs: number;
  #place: number;
  #current: Server | undefined;

  constructor({ serverAddresses, credentials, reconnectMaxMs }: ServersOptions) {
    this.#addresses = serverAddresses;
    this.#credentials = credentials;
    this.#reconnectMaxMs = reconnectMaxMs;
    this.#place = Math.floor(Math.random() * serverAddresses.length);
  }

  get count(): number {
    return this.#addresses.length;
  }

  /** How long one may take a call and say nothing before another is tried; undefined where there is none. */
  get answerMs(): number | undefined {
    return this.count > 1 ? silenceMs : undefined;
  }

  /** The pauses of one who dials them in turn. */
  backoff(): Backoff {
    const backoff = new Backoff(this.#reconnectMaxMs, this.count);
    this.#backoffs.push(backoff);
    return backoff;
  }

  /** No pause is longer from now on; undefined changes nothing. */
  bound(reconnectMaxMs: number | undefined): void {
    if (reconnectMaxMs === undefined || reconnectMaxMs <= 0) return;
    this.#reconnectMaxMs = reconnectMaxMs;
    for (const backoff of this.#backoffs) backoff.bound(reconnectMaxMs);
  }

  /** The one to use now. */
  get current(): Server {
    return (this.#current ??= this.#open());
  }

  /** The current one is lost: the next one is used from now on. What still runs there goes on. */
  leave(): void {
    this.close();
    this.#place = placeAfter(this.#place, this.count);
  }

  close(): void {
    this.#current?.client.close();
    this.#current = undefined;
  }

  #open(): Server {
    const address = this.#addresses[this.#place] ?? "";
    const options = {
      // A connection of its own each time, so that no pause of an earlier one keeps it waiting: the pauses between calls keep agents apart.
      ...channelOptions({ isShared: false }),
      // One record batch or one result is far below; a peer that sends more is not our server.
      "grpc.max_receive_message_length": 8 * 1024 * 1024,
    };
    return { address, client: new AgentServiceClient(address, this.#credentials, options) };
  }
}
