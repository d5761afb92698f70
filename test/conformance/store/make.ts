import { createHash } from "node:crypto";
import type { Failure } from "#job/failure.ts";
import { attemptIdOf, workerIdOf, type AttemptId, type WorkerId } from "#job/id.ts";
import type { Outcome } from "#job/job.ts";
import type { Claim, NewJob, NewWorker, RedeemClaim, Store } from "#store/store.ts";

/** A moment to start from; tests move on from here. */
export const dawn = Date.UTC(2026, 0, 1);
export const day = 86_400_000;

export function newJob(change: Partial<NewJob> = {}): NewJob {
  return {
    tenant: "acme",
    spec: new Uint8Array([1, 2, 3]),
    name: "build",
    labels: {},
    classKey: "small",
    priority: 0,
    deadline: dawn + day,
    correlationId: "c1",
    actor: "ada",
    idempotency: undefined,
    maxQueued: 1_000,
    ...change,
  };
}

export function hash(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}

export function workerId(number: number): WorkerId {
  return workerIdOf(number);
}

export function attemptId(number: number): AttemptId {
  return attemptIdOf(hash(`attempt ${number}`));
}

export function newWorker(number: number, change: Partial<NewWorker> = {}): NewWorker {
  return {
    id: workerId(number),
    provider: "process",
    classKey: "small",
    tenant: undefined,
    resourceName: `hodei-${number}`,
    otpHash: hash(`otp ${number}`),
    otpExpiresAt: dawn + day,
    startDeadline: dawn + day,
    slots: 1,
    maxJobs: 1_000,
    isWarm: false,
    isForJobOnly: false,
    ...change,
  };
}

export function otpOf(number: number, session = `session ${number}`): RedeemClaim {
  return { otpHash: hash(`otp ${number}`), sessionHash: hash(session) };
}

/** A worker that has redeemed its token. */
export async function readyWorker(
  store: Store,
  number: number,
  change: Partial<NewWorker> = {},
): Promise<WorkerId> {
  await store.planWorkers([newWorker(number, change)], dawn);
  await store.redeem(workerId(number), otpOf(number), dawn);
  return workerId(number);
}

let attempts = 1_000_000;

export function claimOf(count: number, change: Partial<Claim> = {}): Claim {
  const attemptIds = Array.from({ length: count }, () => attemptId(++attempts));
  return { count, attemptIds, deadline: dawn + day, bindsTenant: false, ...change };
}

export const failure: Failure = {
  stage: "running",
  cause: "exit_code",
  blame: "user",
  message: "the process ended with exit code 3",
  userCodeMayHaveRun: true,
  evidence: { exit_code: "3" },
};

export function outcome(change: Partial<Outcome> = {}): Outcome {
  return {
    exitCode: 0,
    signal: undefined,
    failure: undefined,
    startedAt: dawn + 5,
    endedAt: dawn + 10,
    peak: { cpuSeconds: 0.5, memoryBytes: 1_000, outputBytes: 10 },
    ...change,
  };
}

export const anyJob = {
  pageSize: 100,
  pageToken: undefined,
  tenant: undefined,
  states: [],
  labels: {},
  text: "",
  submittedAfter: undefined,
  submittedBefore: undefined,
} as const;

export const anyWorker = {
  pageSize: 100,
  pageToken: undefined,
  states: [],
  provider: undefined,
  tenant: undefined,
} as const;
