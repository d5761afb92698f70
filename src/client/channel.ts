import {
  Client,
  credentials,
  type ChannelCredentials,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  Metadata,
} from "@grpc/grpc-js";
import { abortedError, clientError, HodeiClientError } from "./error.ts";
import { Patience, retryDefaults, type RetryOptions } from "./patience.ts";

/** Where the server is and who asks. */
export interface ChannelOptions {
  /** `host:port`. */
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

const messageBytes = 64 * 1024 * 1024;
const windowBytes = 4 * 1024 * 1024;

/** The connections to one server: one for calls, one for follows and watches, which may fill it. */
export class Channel {
  readonly #calls: Client;
  readonly #streams: Client;
  readonly #address: string;
  readonly #token: ChannelOptions["token"];
  readonly #correlationId: string | undefined;
  readonly #maxRetries: number;
  readonly #outageMs: number;
  #hasAnswered = false;

  constructor(options: ChannelOptions) {
    const secure = credentialsOf(options);
    this.#calls = new Client(options.address, secure, clientOptions(options));
    this.#streams = new Client(options.address, secure, clientOptions(options));
    this.#address = options.address;
    this.#token = options.token;
    this.#correlationId = options.correlationId;
    this.#maxRetries = options.retry?.maxRetries ?? retryDefaults.maxRetries;
    this.#outageMs = options.retry?.outageMs ?? retryDefaults.outageMs;
  }

  close(): void {
    this.#calls.close();
    this.#streams.close();
  }

  /** A call that may be repeated: it is, while the server cannot be reached. */
  async call<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    options: CallOptions = {},
  ): Promise<Response> {
    const patience = new Patience(this.#maxRetries);
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
      const call = this.#calls.makeUnaryRequest(
        method.path,
        method.requestSerialize,
        method.responseDeserialize,
        request,
        this.#metadata(),
        (error, response) => {
          signal?.removeEventListener("abort", abort);
          if (signal?.aborted === true) reject(abortedError(signal));
          else if (error !== null) reject(this.errorOf(error));
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
   * Reads a server's stream. When it breaks, or ends before `isComplete`, it is opened again with what `next` gives then,
   * until an outage has lasted too long.
   */
  async *read<Request, Response>(
    method: Method<Request, Response>,
    { next, isComplete, signal }: ReadOptions<Request>,
  ): AsyncGenerator<Response, void, undefined> {
    const patience = this.patience();
    for (;;) {
      let failure: HodeiClientError;
      try {
        for await (const response of this.#readOnce(method, next(), signal)) {
          patience.reset();
          yield response;
        }
        if (isComplete()) return;
        failure = new HodeiClientError("UNAVAILABLE", "the server ended the stream early");
      } catch (error) {
        failure = this.errorOf(error);
      }
      await patience.afterFailure(failure, signal);
    }
  }

  /** A stream whose messages were encoded before. */
  openRaw<Response>(method: RawMethod<Response>): ClientDuplexStream<Buffer, Response> {
    const pass = (bytes: Buffer): Buffer => bytes;
    return this.#calls.makeBidiStreamRequest(
      method.path,
      pass,
      (bytes: Buffer) => {
        this.#hasAnswered = true;
        return method.responseDeserialize(bytes);
      },
      this.#metadata(),
    );
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

  async *#readOnce<Request, Response>(
    method: Method<Request, Response>,
    request: Request,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Response, void, undefined> {
    throwIfAborted(signal);
    const call: ClientReadableStream<Response> = this.#streams.makeServerStreamRequest(
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

export function credentialsOf(options: ChannelOptions): ChannelCredentials {
  const { ca, cert, key } = options;
  if (options.tls !== true && ca === undefined && cert === undefined) {
    return credentials.createInsecure();
  }
  return credentials.createSsl(bytesOf(ca), bytesOf(key), bytesOf(cert));
}

function bytesOf(pem: string | Uint8Array | undefined): Buffer | null {
  if (pem === undefined) return null;
  return typeof pem === "string" ? Buffer.from(pem) : Buffer.from(pem);
}

export function clientOptions({ serverName }: ChannelOptions): ClientOptions {
  return {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.max_receive_message_length": messageBytes,
    "grpc.keepalive_time_ms": 10_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.enable_retries": 0,
    "grpc-node.flow_control_window": windowBytes,
    ...(serverName === undefined
      ? {}
      : {
          "grpc.ssl_target_name_override": serverName,
          "grpc.default_authority": serverName,
        }),
  };
}
