/*
 * Loaded into a real server (`node --import`), whose program knows nothing of it: ends it by SIGKILL at the step that a file names. Steps are commits of the
 * store, which are on disk afterwards, and calls to a provider, which it has been sent and has not answered. Steps count from when the file is there.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { DatabaseSync, StatementSync } from "node:sqlite";
import type { Plan } from "./plan.ts";

type Method = (this: unknown, ...given: unknown[]) => unknown;

const file = process.env["KILL_PLAN"] ?? "";
/** Changes over HTTP but of networks, which only the first worker needs, and what the helper of the process provider is told. */
const calls = /^(POST|PUT|PATCH|DELETE) (?!\S*\/networks\/)|^\{"op":"(start|stop)"/;
const commits = new WeakSet<object>();
let steps = 0;
let name = "";

wrap(DatabaseSync.prototype, "prepare", (original) => {
  return function (...given) {
    const statement = Reflect.apply(original, this, given) as StatementSync;
    if (given[0] === "COMMIT") commits.add(statement);
    return statement;
  };
});

wrap(StatementSync.prototype, "run", (original) => {
  return function (...given) {
    const when = commits.has(this as object) ? whenToDie() : undefined;
    if (when === "before") die("before a commit");
    const result = Reflect.apply<unknown, unknown[], unknown>(original, this, given);
    if (when === "after") die("after a commit");
    return result;
  };
});

wrap(Socket.prototype, "write", (original) => {
  return function (...given) {
    const [chunk] = given;
    const call = textIfDue(chunk instanceof Uint8Array ? Buffer.from(chunk) : String(chunk));
    // What belongs to the call is sent in this turn, and its answer is not read in it.
    if (call !== undefined) setImmediate(die, call);
    return Reflect.apply<unknown, unknown[], unknown>(original, this, given);
  };
});

function wrap(prototype: object, method: string, around: (original: Method) => Method): void {
  const original = Reflect.get(prototype, method) as Method;
  const value = around(original);
  Object.defineProperty(prototype, method, { value, configurable: true, writable: true });
}

function whenToDie(): "before" | "after" | undefined {
  const plan = read();
  if (plan === undefined || plan.step === "call") return undefined;
  steps++;
  return steps === plan.at ? plan.step : undefined;
}

/** The first line of the call, when it is the one. */
function textIfDue(chunk: Buffer | string): string | undefined {
  const text = typeof chunk === "string" ? chunk : chunk.toString("latin1");
  if (!calls.test(text)) return undefined;
  const plan = read();
  if (plan?.step !== "call") return undefined;
  steps++;
  return steps === plan.at ? (text.split("\r\n")[0] ?? "").slice(0, 200) : undefined;
}

function read(): Plan | undefined {
  try {
    const plan = JSON.parse(readFileSync(file, "utf8")) as Plan;
    if (plan.name !== name) [name, steps] = [plan.name, 0];
    return plan;
  } catch {
    return undefined; // Nothing is planned now.
  }
}

function die(step: string): void {
  rmSync(file, { force: true });
  writeFileSync(`${file}.done`, step);
  process.kill(process.pid, "SIGKILL");
}
