import type { Metadata } from "@grpc/grpc-js";
import { randomBytes } from "node:crypto";

/** Ties everything together that one request caused. */
export const correlationKey = "x-correlation-id";

const printable = /^[!-~]{1,128}$/;

/** The caller's correlation id, or a new one when it gave none that could be kept. */
export function correlationOf(metadata: Metadata): string {
  const given = metadata.get(correlationKey)[0];
  if (typeof given === "string" && printable.test(given)) return given;
  return randomBytes(12).toString("base64url");
}
