import { type ServiceDefinition, status as codes } from "@grpc/grpc-js";

/** Most bytes of one message (DESIGN §7). grpc-js has one limit per server, so the smaller ones are kept where a message is decoded. */
export const messageLimits = {
  clientBytes: 1024 * 1024,
  agentBytes: 256 * 1024,
  /** What the transport lets through: a little more, so that the answer can name the limit. */
  transportBytes: 1024 * 1024 + 64 * 1024,
} as const;

/** Stands in the place of a message that was not taken. A decoder that throws would be answered as a fault of the server. */
export class Refusal {
  readonly code: number;
  readonly details: string;

  constructor(code: number, details: string) {
    this.code = code;
    this.details = details;
  }
}

/** The same service with messages of at most `maxBytes`; what is larger or no message becomes a `Refusal`. */
export function limitMessages<Service extends ServiceDefinition>(
  service: Service,
  maxBytes: number,
): ServiceDefinition {
  return Object.fromEntries(
    Object.entries(service).map(([name, method]) => {
      const decode = method.requestDeserialize;
      const requestDeserialize = (bytes: Buffer): unknown => {
        if (bytes.length > maxBytes) {
          const details = `the message has ${bytes.length} bytes; at most ${maxBytes} are taken`;
          return new Refusal(codes.RESOURCE_EXHAUSTED, details);
        }
        try {
          return decode(bytes) as unknown;
        } catch {
          return new Refusal(codes.INVALID_ARGUMENT, "the message cannot be decoded");
        }
      };
      return [name, { ...method, requestDeserialize }];
    }),
  );
}
