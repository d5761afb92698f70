import {
  type Metadata,
  type ServerInterceptor,
  type ServerInterceptingCallInterface,
  ServerInterceptingCall,
  status as codes,
} from "@grpc/grpc-js";
import type { Logger } from "#telemetry.ts";
import { correlationKey, correlationOf } from "./correlation.ts";
import { Refusal } from "./limits.ts";
import { resetCall } from "./windows.ts";

// Every call passes here first. Who asks is decided from the metadata, before a body is read; what came of the call is counted when it is over, whichever side
// ended it. What was found out waits in a map under the call's own metadata object, which nobody outside can name.

/** What a caller is told at the end. */
export interface CallStatus {
  readonly code: number;
  readonly details: string;
  readonly metadata?: Metadata;
}

export type AuthContext = ReturnType<ServerInterceptingCallInterface["getAuthContext"]>;

/** A call whose caller is not known yet. */
export interface Incoming {
  /** Such as `/hodei.v1.JobService/SubmitJob`. */
  readonly method: string;
  readonly metadata: Metadata;
  readonly peer: string;
  readonly correlationId: string;
  readonly log: Logger;
  authContext(): AuthContext;
}

/** A call that was let in. */
export interface Call<Caller> extends Incoming {
  readonly caller: Caller;
  /** Aborts when the call is over, whoever ended it. */
  readonly signal: AbortSignal;
  /** Ends the call without waiting for its reader. */
  reset(): void;
}

export interface EdgeOptions<Caller> {
  readonly log: Logger;
  /** Lets a call in, or throws what the caller is to be told. */
  readonly admit: (incoming: Incoming) => Caller | Promise<Caller>;
  /** What a caller is told about an error. */
  readonly toStatus: (error: unknown, log: Logger) => CallStatus;
  /** A stream was let in; `end` ends it with an error. Gives what is to be called when it is over. */
  readonly onStream?: (caller: Caller, end: (error: unknown) => void) => (() => void) | undefined;
  /** A message of a call that was let in was not taken: too large, or no message at all. */
  readonly onRefusedMessage?: (caller: Caller, incoming: Incoming, code: number) => void;
  /** A call has come. */
  readonly onBegin?: (method: string) => void;
  /** A call is over. */
  readonly onEnd: (method: string, code: number, seconds: number) => void;
}

/** Admits calls and remembers what is known of them. One per listener. */
export class Edge<Caller> {
  readonly options: EdgeOptions<Caller>;
  readonly #calls = new WeakMap<Metadata, Call<Caller>>();

  constructor(options: EdgeOptions<Caller>) {
    this.options = options;
  }

  /** The call that belongs to the metadata that a handler was given. */
  getCall(metadata: Metadata): Call<Caller> {
    const call = this.#calls.get(metadata);
    if (call === undefined) throw new Error("a call came around the interceptor");
    return call;
  }

  readonly interceptor: ServerInterceptor = (definition, inner) => {
    const { options } = this;
    const startedAt = performance.now();
    const end = new AbortControllerOnDemand();
    let code: number = codes.CANCELLED;
    let isOver = false;
    let onOver: (() => void) | undefined;
    let correlationId = "";
    let admittedCall: Call<Caller> | undefined;
    options.onBegin?.(definition.path);

    const outer = new ServerInterceptingCall(inner, {
      start: (next) => {
        next({
          onReceiveMetadata: (metadata, pass) => {
            const call = new AdmittedCall<Caller>(metadata, { definition, inner, options, end });
            correlationId = call.correlationId;
            const admitted = (caller: Caller): void => {
              call.admit(caller);
              admittedCall = call;
              this.#calls.set(metadata, call);
              if (definition.requestStream || definition.responseStream) {
                onOver = options.onStream?.(caller, (error) => {
                  refused(error);
                  // Its reader may take nothing, not even the end.
                  setTimeout(() => isOver || call.reset(), lastWordMs).unref();
                });
              }
              pass(metadata);
            };
            const refused = (error: unknown): void => {
              outer.sendStatus(options.toStatus(error, call.log));
            };
            try {
              const caller = options.admit(call);
              if (caller instanceof Promise) caller.then(admitted).catch(refused);
              else admitted(caller);
            } catch (error) {
              refused(error);
            }
          },
          onReceiveMessage: (message: unknown, pass) => {
            if (message instanceof Refusal) {
              outer.sendStatus({ code: message.code, details: message.details });
              if (admittedCall === undefined) return;
              options.onRefusedMessage?.(admittedCall.caller, admittedCall, message.code);
            } else pass(message);
          },
          onCancel: () => {
            if (isOver) return;
            isOver = true;
            end.abort();
            onOver?.();
            options.onEnd(definition.path, code, (performance.now() - startedAt) / 1000);
          },
        });
      },
      sendMetadata: (metadata, next) => {
        metadata.set(correlationKey, correlationId);
        next(metadata);
      },
      sendStatus: (sent, next) => {
        code = sent.code ?? codes.UNKNOWN;
        next(sent);
      },
    });
    return outer;
  };
}

/** How long a stream that is ended gets to take what was written before. */
const lastWordMs = 500;

class AbortControllerOnDemand {
  #controller: AbortController | undefined;
  #isAborted = false;

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isAborted) this.#controller.abort();
    }
    return this.#controller.signal;
  }

  abort(): void {
    this.#isAborted = true;
    this.#controller?.abort();
  }
}

interface CallParts {
  readonly definition: { readonly path: string };
  readonly inner: ServerInterceptingCallInterface;
  readonly options: { readonly log: Logger };
  readonly end: AbortControllerOnDemand;
}

class AdmittedCall<Caller> implements Call<Caller> {
  readonly method: string;
  readonly metadata: Metadata;
  readonly correlationId: string;
  readonly #parts: CallParts;
  #log: Logger | undefined;
  #admitted: { readonly caller: Caller } | undefined;

  constructor(metadata: Metadata, parts: CallParts) {
    this.method = parts.definition.path;
    this.metadata = metadata;
    this.correlationId = correlationOf(metadata);
    this.#parts = parts;
  }

  admit(caller: Caller): void {
    this.#admitted = { caller };
  }

  get caller(): Caller {
    if (this.#admitted === undefined) throw new Error("this call was not let in");
    return this.#admitted.caller;
  }

  get peer(): string {
    return this.#parts.inner.getPeer();
  }

  get log(): Logger {
    const { method, correlationId } = this;
    return (this.#log ??= this.#parts.options.log.child({ method, correlationId }));
  }

  get signal(): AbortSignal {
    return this.#parts.end.signal;
  }

  authContext(): AuthContext {
    return this.#parts.inner.getAuthContext();
  }

  reset(): void {
    resetCall(this.#parts.inner);
  }
}
