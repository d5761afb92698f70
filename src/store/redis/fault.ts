import { HodeiError, type ErrorCode } from "#error.ts";
import type { Unpacked } from "./pack.ts";
import { toList, toText } from "./values.ts";

export interface Fault {
  readonly error: Error;
  /** Whether Redis did not answer at all. */
  readonly isStalled: boolean;
}

/** What a failed command means. */
export function explain(cause: unknown): Fault {
  if (cause instanceof HodeiError) return { error: cause, isStalled: false };
  const message = cause instanceof Error ? cause.message : String(cause);
  const isReply = cause instanceof Error && cause.name === "ReplyError";
  if (!isReply) {
    const text = "Redis does not answer; the outcome is unknown";
    return { error: new HodeiError("unavailable", text, { cause }), isStalled: true };
  }
  const [word = ""] = message.split(" ");
  const isFull = word === "OOM" || (word === "MISCONF" && /disk|space|AOF|RDB/i.test(message));
  if (isFull) {
    const hint = "give Redis more memory or disk";
    const error = new HodeiError("resource_exhausted", "Redis is full; nothing was changed", {
      cause,
      hint,
    });
    return { error, isStalled: false };
  }
  if (word === "DEPOSED") {
    const error = new HodeiError("aborted", "this server does not lead any more");
    return { error, isStalled: false };
  }
  if (strangers.has(word)) {
    const text = "Redis does not let this user in, or not do what it must";
    const hint =
      "give the URL a user and password that may all commands on the keys and channels hodei:*";
    return {
      error: new HodeiError("unavailable", text, { cause, hint }),
      isStalled: false,
    };
  }
  if (refusals.has(word)) {
    const text = `Redis takes no writes now (${word.toLowerCase()})`;
    return { error: new HodeiError("unavailable", text, { cause }), isStalled: false };
  }
  const error = new Error("a step of the store failed", { cause });
  return { error, isStalled: false };
}

const refusals = new Set([
  "ASK",
  "BUSY",
  "CLUSTERDOWN",
  "LOADING",
  "MASTERDOWN",
  "MOVED",
  "NOREPLICAS",
  "READONLY",
  "TRYAGAIN",
  "UNKILLABLE",
]);

const strangers = new Set(["NOAUTH", "NOPERM", "WRONGPASS"]);

/** What a step answered that could not be done, as Redis' own error. */
export function faultOf(answer: Unpacked): Error | undefined {
  if (!Array.isArray(answer) || answer.length !== 2) return undefined;
  const [kind, message] = answer;
  if (!Buffer.isBuffer(kind) || kind.toString() !== "fault") return undefined;
  const error = new Error(toText(message).replace(/^-/, ""));
  error.name = "ReplyError";
  return explain(error).error;
}

/** Throws what a step answered if that is an error. */
export function checked(answer: Unpacked): Unpacked {
  if (!Array.isArray(answer) || answer.length !== 3) return answer;
  const [kind, code, message] = answer;
  if (!Buffer.isBuffer(kind) || kind.toString() !== "error") return answer;
  throw new HodeiError(toText(code) as ErrorCode, toText(message));
}

export function isWord(answer: Unpacked, word: string): boolean {
  const [first] = Array.isArray(answer) ? toList(answer) : [answer];
  return Buffer.isBuffer(first) && first.toString() === word;
}
