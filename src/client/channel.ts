import { type ClientDuplexStream, type ClientReadableStream, Metadata } from "@grpc/grpc-js";
import { abortedError, clientError, HodeiClientError, isTransient } from "./error.ts";
import { Patience, retryDefaults, type RetryOptions } from "./patience.ts";
import { type Server, Servers } from "./servers.ts";

/** Where the server is and who asks. */
export interface ChannelOptions {
  /** `host:port`; of several replicas between commas: when one cannot be reached, the next one is asked. */
  readonly address: string;
  /** Bearer token; a function is asked for every call. */
  readonly token?: string | (() => string) | undefined;
  /** Use TLS with the system's certificate authorities. Giving `ca` or `cert` means TLS too. */
  readonly tls?: boolean | undefined;
  /** Certificate authorities to trust, in PEM. */
  readonly ca?: string | Uint8Array | undefined;
  /** The client's certificate for mutual TLS, in PEM. */
  readonly cert?: string | Uint8Array | undefined;
  /** The key of `cert`, in PEM. */
  readonly key?: string | Uint8Array | undefined;
  /** Name to expect in the server's certificate, when it is not the address's. */
  readonly serverName?: string | undefined;
  /** Sent with every call as `x-correlation-id`. */
  readonly correlationId?: string | undefined;
  readonly retry?: RetryOptions | undefined;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** What the generated service definitions say of a method. */
export interface Method<Request, Response> {
  readonly path: string;
  readonly requestSerialize: (value: Request) => Buffer;
  readonly responseDeserialize: (bytes: Buffer) => Response;
}

export type RawMethod<Response> = Pick<Method<never, Response>, "path" | "responseDeserialize">;

/** Whether nothing can have reached the server. */
export function isConnectFailure({ message }: HodeiClientError): boolean {
  return /^(cannot reach|Name resolution failed)/.test(message);
}

/** How grpc-js says that there is no connection, and the reason in it. */
const connectFailure =
  /^(?:No connection established\. Last error: )(?:Error: )?(.*?)(?: \(\d{4}-[^)]*\))?\.? (?:Resolution note: .*)?$/;

/** The calls to one server, whichever of its replicas answers. */
export class Channel {
  readonly #servers: Servers;
  readonly #address: string;
  readonly #token: ChannelOptions["token"];
  readonly #correlationId: string | undefined;
  readonly #maxRetries: number;
  readonly #outageMs: number;
  #hasAnswered = false;

  constructor(options: ChannelOptions) {
    this.#servers = new Servers(options);
    this.#address = options.address;
    this.#token = options.token;
    this.#correlationId = options.correlationId;
    const { maxRetries = retryDefaults.maxRetries } = options.retry ?? {};
    // To be sent on to another replica is no second try.
    this.#maxRetries = maxRetries + this.#servers.count - 1;
    this.#outageMs = options.retry?.outageMs ?? retryDefaults.outageMs;
  }

  close(): void {
    this.#servers.close();
  }

  /** A call that may be repeated: it is, while the server cannot be reached and the patience lasts. */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions & { readonly patience?: Patience } = {},
  ): Promise<Response> {
    const { patience = new Patience(this.#maxRetries) } = options;
    for (;;) {
      try {
        return await this.callOnce(method, request, options);
      } catch (error) {
        await patience.afterFailure(this.errorOf(error), options.signal);
      }
    }
  }

  callOnce<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    { signal }: CallOptions = {},
  ): Promise<Response> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(abortedError(signal));
        return;
      }
      const abort = (): void => call.cancel();
      const server = this.#servers.current;
      const call = server.calls.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(),
        (error, response) => {
          signal?.removeEventListener("abort", abort);
          if (signal?.aborted === true) reject(abortedError(signal));
          else if (error !== null) reject(this.#failure(error, server));
          else if (response === undefined) reject(new HodeiClientError("INTERNAL", "no answer"));
          else {
            this.#hasAnswered = true;
            resolve(response);
          }
        },
      );
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /**
   * Reads a server's stream. When it breaks, or ends before `isComplete`, it is opened again with what `next` gives then, at the next
   * replica if there is one, until an outage has lasted too long.
   */
  async *read<Request, Response>(
    method: Method<Request, Response>,
    { next, isComplete, signal }: ReadOptions<Request>,
  ): AsyncGenerator<Response, void, undefined> {
    const patience = this.patience();
    for (;;) {
      const server = this.#servers.current;
      let failure: HodeiClientError;
      try {
        for await (const response of this.#readOnce(server, method, { request: next(), signal })) {
          patience.reset();
          yield response;
        }
        if (isComplete()) return;
        const early = new HodeiClientError("UNAVAILABLE", "the server ended the stream early");
        failure = this.#failure(early, server);
      } catch (error) {
        failure = this.#failure(error, server);
      }
      await patience.afterFailure(failure, signal);
    }
  }

  /** A stream whose messages were encoded before. */
  openRaw<Response>(method: RawMethod<Response>): ClientDuplexStream<Buffer, Response> {
    const pass = (bytes: Buffer): Buffer => bytes;
    const server = this.#servers.current;
    const call = server.calls.makeBidiStreamRequest(
      method.path,
      pass,
      (bytes: Buffer) => {
        this.#hasAnswered = true;
        return method.responseDeserialize(bytes);
      },
      this.#metadata(),
    );
    call.on("error", (error: unknown) => void this.#failure(error, server));
    return call;
  }

  /** For what lives longer than a call: a server that never answered is given up soon, an outage is sat out. */
  patience(): Patience {
    return new Patience(this.#maxRetries, () => (this.#hasAnswered ? this.#outageMs : 0));
  }

  /** Whatever a call throws, as an error of ours; one about the connection names the server. */
  errorOf(error: unknown): HodeiClientError {
    const failure = clientError(error);
    const reason = connectFailure.exec(failure.message)?.[1];
    if (failure.code !== "UNAVAILABLE" || reason === undefined) return failure;
    const message = `cannot reach ${this.#address}: ${reason}`;
    return new HodeiClientError("UNAVAILABLE", message, { cause: error });
  }

  /** The error; the next call goes elsewhere when this server cannot be reached. */
  #failure(error: unknown, server: Server): HodeiClientError {
    const failure = this.errorOf(error);
    if (isTransient(failure)) this.#servers.leave(server);
    return failure;
  }

  async *#readOnce<Request, Response>(
    server: Server,
    method: Method<Request, Response>,
    { request, signal }: { request: Request; signal: AbortSignal | undefined },
  ): AsyncGenerator<Response, void, undefined> {
    throwIfAborted(signal);
    const call: ClientReadableStream<Response> = server.streams.makeServerStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      this.#metadata(),
    );
    // A call that is cancelled below still reports an error.
    call.on("error", () => undefined);
    const abort = (): void => call.cancel();
    signal?.addEventListener("abort", abort, { once: true });
    try {
      for await (const response of call as AsyncIterable<Response>) {
        this.#hasAnswered = true;
        yield response;
      }
    } catch (error) {
      throwIfAborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      call.cancel();
    }
  }

  #metadata(): Metadata {
    const metadata = new Metadata();
    const token = typeof this.#token === "function" ? this.#token() : this.#token;
    if (token !== undefined && token !== "") metadata.set("authorization", `Bearer ${token}`);
    if (this.#correlationId !== undefined) metadata.set("x-correlation-id", this.#correlationId);
    return metadata;
  }
}

interface ReadOptions<Request> {
  readonly next: () => Request;
  readonly isComplete: () => boolean;
  readonly signal: AbortSignal | undefined;
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw abortedError(signal);
}
