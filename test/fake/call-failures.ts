import { status } from "@grpc/grpc-js";

interface Call {
  readonly emit: (event: "error", error: object) => unknown;
}

/** Ends a stream as a connection that broke. */
export function breakOff(call: Call): void {
  fail(call, status.UNAVAILABLE, "broken on purpose");
}

export function fail(call: Call, code: status, details: string): void {
  call.emit("error", { code, details });
}
