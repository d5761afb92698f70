import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { outcomeOf, statusCodes, statusName, toStatus } from "#api/status.ts";
import { type ErrorCode, HodeiError } from "#error.ts";
import { createLogger } from "#telemetry.ts";

const silent = createLogger("silent");

test.for(Object.entries(statusCodes))(
  "%s is answered as the status of the same name",
  ([code, number]) => {
    const error = new HodeiError(code as ErrorCode, "what went wrong");
    expect(statusName(number)).toBe(code.toUpperCase());
    expect(toStatus(error, silent)).toEqual({ code: number, details: "what went wrong" });
    expect(outcomeOf(error)).toBe(code.toUpperCase());
  },
);

test("a bug leaves without its message, and is logged with it", () => {
  const lines: string[] = [];
  const log = createLogger("error", { write: (line) => void lines.push(line) });
  expect(toStatus(new TypeError("secret detail"), log)).toEqual({
    code: status.INTERNAL,
    details: "internal error",
  });
  expect(lines.join("")).toContain("secret detail");
  expect(outcomeOf("thrown text")).toBe("INTERNAL");
});

test("a hint travels beside the message", () => {
  const answer = toStatus(new HodeiError("unavailable", "no", { hint: "try later" }), silent);
  expect(answer.metadata?.get("hodei-hint")).toEqual(["try%20later"]);
});
