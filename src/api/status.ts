import { Metadata, status as codes } from "@grpc/grpc-js";
import { type ErrorCode, HodeiError } from "#error.ts";
import type { CallStatus } from "#rpc/edge.ts";
import type { Logger } from "#telemetry.ts";

/** The gRPC status of the same name. */
export const statusCodes: Readonly<Record<ErrorCode, number>> = {
  invalid_argument: codes.INVALID_ARGUMENT,
  not_found: codes.NOT_FOUND,
  already_exists: codes.ALREADY_EXISTS,
  permission_denied: codes.PERMISSION_DENIED,
  unauthenticated: codes.UNAUTHENTICATED,
  resource_exhausted: codes.RESOURCE_EXHAUSTED,
  failed_precondition: codes.FAILED_PRECONDITION,
  aborted: codes.ABORTED,
  out_of_range: codes.OUT_OF_RANGE,
  unimplemented: codes.UNIMPLEMENTED,
  unavailable: codes.UNAVAILABLE,
  deadline_exceeded: codes.DEADLINE_EXCEEDED,
  cancelled: codes.CANCELLED,
  data_loss: codes.DATA_LOSS,
};

/** The name of a gRPC status, as in the audit: `OK`, `NOT_FOUND`, …. */
export function statusName(code: number): string {
  return codes[code] ?? "UNKNOWN";
}

/** The name of the status that an error is answered as. */
export function outcomeOf(error: unknown): string {
  return statusName(error instanceof HodeiError ? statusCodes[error.code] : codes.INTERNAL);
}

/** What a caller is told about an error. What is no `HodeiError` is a bug: it is logged, and leaves without its message. */
export function toStatus(error: unknown, log: Logger): CallStatus {
  if (!(error instanceof HodeiError)) {
    log.error({ err: error }, "a call failed by a bug");
    return { code: codes.INTERNAL, details: "internal error" };
  }
  if (error.code === "unavailable" || error.code === "data_loss") {
    log.warn({ err: error }, "a call failed");
  }
  const { message: details, hint } = error;
  const code = statusCodes[error.code];
  if (hint === undefined) return { code, details };
  const metadata = new Metadata();
  metadata.set("hodei-hint", encodeURI(hint));
  return { code, details, metadata };
}
