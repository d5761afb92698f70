// A server that dies at its k-th commit: `crash-child.ts <path> <k> before|after`. It prints each step that was acknowledged.
import { writeSync } from "node:fs";
import { Batches, type Call, type Method } from "#store/sqlite/batch.ts";
import { Core } from "#store/sqlite/core.ts";
import { openDatabase } from "#store/sqlite/schema.ts";
import type { Assignment, Store, SubmitOutcome } from "#store/store.ts";
import {
  claimOf,
  dawn,
  day,
  failure,
  newJob,
  newWorker,
  otpOf,
  outcome,
  workerId,
} from "../conformance/store/make.ts";

const [path = "", at = "0", when = "before"] = process.argv.slice(2);

/** Lets every commit but the k-th happen; that one dies just before or just after. */
function open(): Batches {
  const db = openDatabase(path);
  const prepare = db.prepare.bind(db);
  let commits = 0;
  db.prepare = (sql) => {
    const statement = prepare(sql);
    if (sql !== "COMMIT") return statement;
    const run = statement.run.bind(statement);
    statement.run = () => {
      const isLast = ++commits === Number(at);
      if (isLast && when === "before") process.kill(process.pid, "SIGKILL");
      const result = run();
      if (isLast) process.kill(process.pid, "SIGKILL");
      return result;
    };
    return statement;
  };
  return new Batches(new Core(db));
}

const batches = open();

function acknowledge(fact: object): void {
  writeSync(1, `${JSON.stringify(fact)}\n`);
}

function step<M extends Method>(method: M, ...args: Parameters<Store[M]>): unknown {
  return stepAll([{ method, args }])[0];
}

function stepAll(calls: readonly Call[]): unknown[] {
  return batches.run(calls).map((answer) => {
    if (answer.kind === "error") throw new Error(answer.message);
    return answer.value;
  });
}

function submit(count: number): void {
  const key = { key: `k${count}`, specHash: new Uint8Array(32), expiresAt: dawn + day };
  const calls = Array.from({ length: count }, (_, place): Call => {
    const idempotency = place === 0 ? key : undefined;
    return { method: "submitJobs", args: [[newJob({ idempotency })], dawn] };
  });
  const results = stepAll(calls).flat() as SubmitOutcome[];
  const ids = results.flatMap((result) => (result.kind === "accepted" ? [result.id] : []));
  acknowledge({ submitted: ids });
}

const over = { kind: "over", expiresAt: dawn + day } as const;
const later = { kind: "queued", notBefore: dawn, deadline: dawn + day, isSpent: true } as const;

/** One round of a server's life, in nine commits. */
function round(number: number): void {
  const worker = workerId(number);
  submit(number + 2);
  step("planWorkers", [newWorker(number)], dawn);
  step("redeem", worker, otpOf(number), dawn);
  acknowledge({ redeemed: worker });
  const given = step("claimNext", worker, claimOf(3), dawn) as Assignment[];
  acknowledge({ assigned: given.map(({ jobId, attemptId }) => ({ jobId, attemptId })) });
  const starts = given.map((one) => ({ ...one, startedAt: dawn, deadline: dawn + day }));
  step("startAttempts", starts, dawn);
  const [first, second, third] = given;
  if (first === undefined || second === undefined || third === undefined) return;
  const end = { outcome: outcome(), expiresAt: dawn + day };
  step("finishAttempts", [{ ...first, ...end, move: "succeed", next: over }], dawn);
  acknowledge({ finished: first.jobId, state: "succeeded" });
  const failed = { ...end, outcome: outcome({ failure, exitCode: 3 }) };
  step("finishAttempts", [{ ...second, ...failed, move: "requeue", next: later }], dawn);
  acknowledge({ requeued: second.jobId });
  const wish = { reason: "", actor: "bob", deadline: dawn + day, expiresAt: dawn + day };
  stepAll([
    { method: "cancelJob", args: [third.jobId, wish, dawn] },
    {
      method: "finishAttempts",
      args: [[{ ...third, ...end, move: "end_cancelled", next: over }], dawn],
    },
  ]);
  acknowledge({ finished: third.jobId, state: "cancelled" });
  const stopped = { failure: undefined, expiresAt: dawn + day };
  step("endWorker", worker, stopped, dawn);
  acknowledge({ ended: worker });
}

for (const number of [1, 2, 3]) round(number);
acknowledge({ done: true });
