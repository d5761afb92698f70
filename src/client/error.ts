/** The gRPC statuses by number. This file loads no gRPC, so that whoever only names errors starts quickly. */
const codes = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** Name of a gRPC status, such as `NOT_FOUND`. */
export type ClientErrorCode = (typeof codes)[number];

export interface ClientErrorDetails {
  readonly cause?: unknown;
  /** Whether the server may have done what was asked. */
  readonly isOutcomeUnknown?: boolean;
}

/** Why a call did not succeed. */
export class HodeiClientError extends Error {
  readonly code: ClientErrorCode;
  /** The number of `code` in gRPC. */
  readonly grpcCode: number;
  /** Whether the server may have done what was asked, although nobody said so. */
  readonly isOutcomeUnknown: boolean;

  constructor(code: ClientErrorCode, message: string, details: ClientErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : {});
    this.name = "HodeiClientError";
    this.code = code;
    this.grpcCode = codes.indexOf(code);
    this.isOutcomeUnknown = details.isOutcomeUnknown ?? false;
  }
}

/** The error for a gRPC status number, which may be one that this version does not know. */
export function statusError(
  grpcCode: number,
  message: string,
  details: ClientErrorDetails = {},
): HodeiClientError {
  return new HodeiClientError(codes[grpcCode] ?? "UNKNOWN", message, details);
}

/** Whatever a gRPC call throws, as an error of ours. */
export function clientError(error: unknown): HodeiClientError {
  if (error instanceof HodeiClientError) return error;
  if (error instanceof Error && "code" in error && typeof error.code === "number") {
    const details = "details" in error && typeof error.details === "string" ? error.details : "";
    return statusError(error.code, details || error.message, { cause: error });
  }
  return new HodeiClientError("UNKNOWN", error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}

export function abortedError(signal: AbortSignal): HodeiClientError {
  return new HodeiClientError("CANCELLED", "aborted by the caller", { cause: signal.reason });
}

/** Whether the same call may succeed a moment later, on a new connection. */
export function isTransient(error: HodeiClientError): boolean {
  return (
    error.code === "UNAVAILABLE" ||
    (error.code === "INTERNAL" && /RST_STREAM|stream closed/i.test(error.message))
  );
}

/** A field that the server always sets. */
export function given<Value>(value: Value | undefined): Value {
  if (value === undefined) throw new HodeiClientError("INTERNAL", "the answer is incomplete");
  return value;
}
