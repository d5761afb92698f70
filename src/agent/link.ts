import { type ClientDuplexStream, type ServiceError, status } from "@grpc/grpc-js";
import type { Backoff } from "./backoff.ts";

export interface LinkOptions<Request, Response> {
  readonly open: () => ClientDuplexStream<Request, Response>;
  readonly backoff: Backoff;
  /** Most time until the first message of a stream, after which it counts as lost. Undefined: no bound. */
  readonly answerMs: number | undefined;
  /** A new stream; whatever the last one carried may be lost. */
  readonly onOpen: () => void;
  readonly onMessage: (message: Response) => void;
  /** The stream is gone; another one follows. */
  readonly onLost: (error: ServiceError | undefined) => void;
  /** The server does not accept this session any more. */
  readonly onRefused: (error: ServiceError) => void;
}

/** Keeps one stream to the server open, and opens another one whenever it ends. */
export class Link<Request, Response> {
  readonly #options: LinkOptions<Request, Response>;
  #stream: ClientDuplexStream<Request, Response> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;
  #hasOpened = false;
  #waiting = 0;

  constructor(options: LinkOptions<Request, Response>) {
    this.#options = options;
  }

  /** Opens the stream unless it is, or is about to be. */
  open(): void {
    if (this.#isClosed || this.#hasOpened) return;
    this.#hasOpened = true;
    this.#connect();
  }

  get isOpen(): boolean {
    return this.#stream !== undefined;
  }

  /** Messages that were given to the stream and not yet to the network. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Whether there was a stream to send it on. `onSent` is called when another one may follow. */
  send(message: Request, onSent?: () => void): boolean {
    const stream = this.#stream;
    if (stream === undefined) return false;
    this.#waiting++;
    stream.write(message, () => {
      if (stream !== this.#stream) return;
      this.#waiting--;
      onSent?.();
    });
    return true;
  }

  /** Opens another stream in place of this one at once, if there ever was one. */
  replace(): void {
    if (this.#isClosed || !this.#hasOpened) return;
    clearTimeout(this.#timer);
    const stream = this.#stream;
    this.#connect();
    stream?.cancel();
  }

  /** The pauses between tries begin anew: the server has answered. */
  settle(): void {
    this.#options.backoff.reset();
  }

  /** Says that nothing more is sent, and opens no other stream; resolves when the server has closed its side, or after `waitMs`. */
  async close(waitMs: number): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    const stream = this.#stream;
    if (stream === undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    stream.once("status", () => resolve());
    stream.end();
    await promise;
    clearTimeout(timer);
    stream.cancel();
  }

  #connect(): void {
    const stream = this.#options.open();
    this.#stream = stream;
    this.#waiting = 0;
    let failure: ServiceError | undefined;
    const { answerMs } = this.#options;
    const silence = answerMs && setTimeout(() => stream.cancel(), answerMs);
    stream.once("data", () => clearTimeout(silence));
    stream.on("data", (message: Response) => {
      if (stream === this.#stream) this.#options.onMessage(message);
    });
    stream.on("error", (error: ServiceError) => (failure = error));
    // `status` comes once, after an error as well as after an orderly end.
    stream.once("status", () => {
      clearTimeout(silence);
      setImmediate(() => this.#lose(stream, failure));
    });
    this.#options.onOpen();
  }

  #lose(stream: ClientDuplexStream<Request, Response>, error: ServiceError | undefined): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (this.#isClosed) return;
    if (error !== undefined && isRefusal(error)) {
      this.#isClosed = true;
      this.#options.onRefused(error);
      return;
    }
    this.#options.onLost(error);
    this.#timer = setTimeout(() => this.#connect(), this.#options.backoff.next());
  }
}

/** Whether the server has said that these credentials are not valid; another try changes nothing. */
export function isRefusal(error: { readonly code?: number }): boolean {
  return error.code === status.UNAUTHENTICATED || error.code === status.PERMISSION_DENIED;
}
