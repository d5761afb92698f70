/** Everything that can go wrong for a caller; each code is answered as the gRPC status of the same name. */
export type ErrorCode =
  | "invalid_argument"
  | "not_found"
  | "already_exists"
  | "permission_denied"
  | "unauthenticated"
  | "resource_exhausted"
  | "failed_precondition"
  | "aborted"
  | "out_of_range"
  | "unimplemented"
  | "unavailable"
  | "deadline_exceeded"
  | "cancelled"
  | "data_loss";

/** What else an error can say. */
export interface ErrorDetails {
  readonly cause?: unknown;
  /** What an operator can do about it. */
  readonly hint?: string;
}

/** An error whose message may be shown to the caller. Everything else is a bug and leaves as "internal error". */
export class HodeiError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, "cause" in details ? { cause: details.cause } : {});
    this.name = "HodeiError";
    this.code = code;
    this.hint = details.hint;
  }
}

/** Refuses a field of a request; the message begins with the field's path. */
export function invalid(field: string, problem: string): HodeiError {
  return new HodeiError("invalid_argument", `${field}: ${problem}`);
}
