import type {
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
  ServerWritableStream,
  ServiceDefinition,
  UntypedHandleCall,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { Call, CallStatus, Edge } from "./edge.ts";
import { receive } from "./receive.ts";
import { createWriter, type Write } from "./write.ts";

/** Takes one message, gives one. */
export type UnaryHandler<Request, Response, Caller> = (
  request: Request,
  call: Call<Caller>,
) => Promise<Response> | Response;

/** Takes one message, gives many; the call ends with the promise. `write` waits while the reader is slow. */
export type StreamHandler<Request, Response, Caller> = (
  request: Request,
  call: Call<Caller>,
  write: Write<Response>,
) => Promise<void>;

/** Takes many messages, gives many; the call ends with the promise. */
export type DuplexHandler<Request, Response, Caller> = (
  requests: AsyncIterable<Request>,
  call: Call<Caller>,
  write: Write<Response>,
) => Promise<void>;

type HandlerOf<Method, Caller> = Method extends {
  readonly requestStream: infer Many;
  readonly responseStream: infer Stream;
  readonly requestDeserialize: (bytes: Buffer) => infer Request;
  readonly responseSerialize: (message: infer Response) => Buffer;
}
  ? Many extends true
    ? DuplexHandler<Request, Response, Caller>
    : Stream extends true
      ? StreamHandler<Request, Response, Caller>
      : UnaryHandler<Request, Response, Caller>
  : never;

/** One handler per method of a generated service. */
export type Handlers<Service, Caller> = {
  readonly [Name in keyof Service]: HandlerOf<Service[Name], Caller>;
};

/**
 * Handlers for grpc-js that cannot harm the process: whatever they throw, now or later, becomes a status, and their signal aborts
 * once when the call is over.
 */
export function safeHandlers<Service extends ServiceDefinition, Caller>(
  edge: Edge<Caller>,
  service: Service,
  handlers: Handlers<Service, Caller>,
): UntypedServiceImplementation {
  const byName: Readonly<Record<string, unknown>> = handlers;
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => {
      const handler = byName[name];
      if (method.requestStream) {
        return [name, duplex(edge, handler as DuplexHandler<unknown, unknown, Caller>)];
      }
      if (method.responseStream) {
        return [name, stream(edge, handler as StreamHandler<unknown, unknown, Caller>)];
      }
      return [name, unary(edge, handler as UnaryHandler<unknown, unknown, Caller>)];
    }),
  );
}

function unary<Caller>(
  edge: Edge<Caller>,
  handler: UnaryHandler<unknown, unknown, Caller>,
): UntypedHandleCall {
  return (raw: ServerUnaryCall<unknown, unknown>, answer: sendUnaryData<unknown>) => {
    const call = edge.getCall(raw.metadata);
    run(
      async () => answer(null, await handler(raw.request, call)),
      (error) => answer(statusOf(edge, call, error)),
    );
  };
}

function stream<Caller>(
  edge: Edge<Caller>,
  handler: StreamHandler<unknown, unknown, Caller>,
): UntypedHandleCall {
  return (raw: ServerWritableStream<unknown, unknown>) => {
    const call = edge.getCall(raw.metadata);
    run(
      async () => {
        await handler(raw.request, call, createWriter(raw, call));
        raw.end();
      },
      (error) => fail(raw, statusOf(edge, call, error)),
    );
  };
}

function duplex<Caller>(
  edge: Edge<Caller>,
  handler: DuplexHandler<unknown, unknown, Caller>,
): UntypedHandleCall {
  return (raw: ServerDuplexStream<unknown, unknown>) => {
    const call = edge.getCall(raw.metadata);
    run(
      async () => {
        await handler(receive(raw, call.signal), call, createWriter(raw, call));
        raw.end();
      },
      (error) => fail(raw, statusOf(edge, call, error)),
    );
  };
}

function run(step: () => Promise<void>, onError: (error: unknown) => void): void {
  step().catch(onError);
}

function statusOf<Caller>(
  edge: Edge<Caller>,
  call: Call<Caller>,
  error: unknown,
): CallStatus & Error {
  const status = edge.options.toStatus(error, call.log);
  return Object.assign(new Error(status.details), status);
}

type Failing = Pick<ServerReadableStream<unknown, unknown>, "destroyed" | "emit">;

/** grpc-js takes the status of a stream as an "error" event. */
function fail(raw: Failing, status: Error): void {
  if (!raw.destroyed) raw.emit("error", status);
}
