import type { AttemptFinish, Claim, NewJob, Store } from "#store/store.ts";
import type { JobId, WorkerId } from "#job/id.ts";
import { plainTerms } from "#worker/provider-record.ts";
import {
  claimOf,
  dawn,
  day,
  failure,
  hash,
  newJob,
  newWorker,
  otpOf,
  outcome,
  readyWorker,
  workerId,
} from "../conformance/store/make.ts";

/** What can be gone on with in a store that was filled. */
export interface Filled {
  readonly now: number;
  /** Ends the running job. */
  readonly running: AttemptFinish;
  readonly queued: JobId;
  readonly claim: Claim;
  readonly session: { readonly workerId: WorkerId; readonly hash: Uint8Array };
  /** Has been submitted with this key. */
  readonly submit: NewJob;
}

/** One of everything that a store keeps. */
export async function fillStore(store: Store): Promise<Filled> {
  const now = dawn + 1_000;
  const id = await readyWorker(store, 1, { slots: 4 });
  await store.recordHello(id, { slots: 4, hostname: "here" });
  const one = (job: NewJob) => store.submitJobs([job], dawn);
  const idempotency = { key: "k", specHash: hash("spec"), expiresAt: dawn + day };
  const submit = newJob({ idempotency, labels: { a: "b" }, name: "kept" });
  await one(submit);
  const [first] = await store.claimNext(id, claimOf(1), now);
  if (first === undefined) throw new Error("there was a job");
  const { jobId, attemptId } = first;
  await store.startAttempts([{ jobId, attemptId, startedAt: now, deadline: now + day }], now);
  const requeue = { kind: "queued", notBefore: now, deadline: dawn + day, isSpent: true } as const;
  await store.finishAttempts(
    [
      {
        jobId,
        attemptId,
        outcome: outcome({ exitCode: 3, failure }),
        move: "requeue",
        next: requeue,
        expiresAt: now + day,
      },
    ],
    now,
  );
  const over = { kind: "over", expiresAt: now + day } as const;
  const [second] = await store.claimNext(id, claimOf(1), now);
  if (second === undefined) throw new Error("it was queued again");
  await store.finishAttempts(
    [
      {
        jobId,
        attemptId: second.attemptId,
        outcome: outcome(),
        move: "succeed",
        next: over,
        expiresAt: now + day,
      },
    ],
    now,
  );
  await one(newJob({ tenant: "other", priority: 5 }));
  const [third] = await store.claimNext(id, claimOf(1), now);
  if (third === undefined) throw new Error("there was another job");
  const start = { jobId: third.jobId, attemptId: third.attemptId };
  await store.startAttempts([{ ...start, startedAt: now, deadline: now + day }], now);
  const [waiting] = await one(newJob({ name: "queued", spec: new Uint8Array(500).fill(7) }));
  const [gone] = await one(newJob({ name: "gone" }));
  await one(newJob({ classKey: "large", name: "large" }));
  if (waiting?.kind !== "accepted" || gone?.kind !== "accepted") throw new Error("was refused");
  const cancel = { reason: "no more", actor: "ada", deadline: now + day, expiresAt: now + day };
  await store.cancelJob(gone.id, cancel, now);
  await store.planWorkers([newWorker(2, { tenant: "acme" })], now);
  await store.endWorker(workerId(2), { failure, expiresAt: now + day }, now);
  await fillAround(store, now);
  return {
    now,
    running: {
      ...start,
      outcome: outcome(),
      move: "succeed",
      next: over,
      expiresAt: now + day,
    },
    queued: waiting.id,
    claim: claimOf(4),
    session: { workerId: id, hash: otpOf(1).sessionHash },
    submit,
  };
}

async function fillAround(store: Store, now: number): Promise<void> {
  const token = {
    id: "t1",
    subject: "sue",
    tenant: "acme",
    role: "submitter",
    createdAt: now,
    expiresAt: undefined,
    revokedAt: undefined,
  } as const;
  await store.putToken(token, hash("secret"));
  const entry = {
    at: now,
    actor: "ada",
    tenant: "acme",
    action: "SubmitJob",
    target: "j",
    outcome: "OK",
    peer: "here",
    correlationId: "c",
    expiresAt: now + day,
  };
  await store.appendAudit([entry, { ...entry, action: "CancelJob" }]);
  await store.addProvider(
    {
      ...plainTerms,
      id: "p0123456789abcdef",
      name: "here",
      type: "process",
      source: "api",
      runtimes: ["python"],
      config: { a: null, b: [1] },
      secret: hash("sealed"),
    },
    now,
  );
  await store.saveProviderStates([{ provider: "here", at: now, data: '{"a":1}' }]);
  await store.appendProviderEvents([
    {
      at: now,
      provider: "here",
      kind: "registered",
      from: "",
      to: "",
      reason: "",
      actor: "ada",
      expiresAt: now + day,
    },
  ]);
}
