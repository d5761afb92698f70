import type { LogsRequest, LogsResponse } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { Metadata, ServiceError } from "@grpc/grpc-js";
import type { Attempt } from "./attempt.ts";
import { Link } from "./link.ts";
import type { Server, Servers } from "./servers.ts";

/** Messages that may wait for the network. Log bytes are counted by credits; this keeps a stalled link from piling up copies. */
const waitingMessages = 4;

export interface UplinkOptions {
  readonly servers: Servers;
  readonly session: () => Metadata;
  readonly attempts: ReadonlyMap<string, Attempt>;
  readonly onRefused: (error: ServiceError) => void;
}

/** Sends the attempts' batches in turn, as far as the server's credit goes. */
export class Uplink {
  readonly #attempts: ReadonlyMap<string, Attempt>;
  readonly #link: Link<LogsRequest, LogsResponse>;
  readonly #servers: Servers;
  #server: Server | undefined;
  #credit = 0;
  #isPumping = false;

  constructor(options: UplinkOptions) {
    this.#attempts = options.attempts;
    this.#servers = options.servers;
    this.#link = new Link({
      open: () => {
        this.#server = this.#servers.current;
        return this.#server.client.logs(options.session());
      },
      backoff: options.servers.backoff(),
      answerMs: undefined,
      onOpen: () => this.#begin(),
      onMessage: (message) => this.#receive(message),
      onLost: () => (this.#credit = 0),
      onRefused: options.onRefused,
    });
  }

  /** There is something to send, or there will be soon. */
  open(): void {
    this.#link.open();
  }

  /** The agent was greeted: its logs go to the same server. */
  follow(): void {
    if (this.#server !== this.#servers.current) this.#link.replace();
  }

  /** Sends what it may; gathers everything of this turn. */
  pump(): void {
    this.open();
    if (this.#isPumping) return;
    this.#isPumping = true;
    queueMicrotask(() => {
      this.#isPumping = false;
      this.#send();
    });
  }

  async close(waitMs: number): Promise<void> {
    await this.#link.close(waitMs);
  }

  #begin(): void {
    this.#credit = 0;
    for (const attempt of this.#attempts.values()) attempt.log.rewind();
  }

  #receive(message: LogsResponse): void {
    this.#link.settle();
    this.#credit += message.creditBytes;
    for (const { attemptId, batchNumber, fenced } of message.acks) {
      const log = this.#attempts.get(attemptId)?.log;
      log?.acknowledge(batchNumber);
      if (fenced) log?.close();
    }
    this.pump();
  }

  /** One batch of each attempt at a time, so that a noisy one delays nobody. */
  #send(): void {
    for (let sent = true; sent && this.#link.isOpen;) {
      sent = false;
      for (const attempt of this.#attempts.values()) sent = this.#sendNext(attempt) || sent;
    }
  }

  #sendNext(attempt: Attempt): boolean {
    const size = attempt.log.nextSize;
    if (size === undefined || size > this.#credit || this.#link.waiting >= waitingMessages) {
      return false;
    }
    const next = attempt.log.take();
    if (next === undefined) return false;
    this.#credit -= size;
    return this.#link.send(
      {
        attemptId: attempt.id,
        jobId: attempt.jobId,
        batchNumber: next.number,
        batch: Buffer.from(next.bytes.buffer, next.bytes.byteOffset, next.bytes.length),
      },
      () => this.pump(),
    );
  }
}
