import { randomBytes } from "node:crypto";
import type { Failure, HodeiClient, Job, JobEvent, Provider } from "#client/client.ts";
import type { TokenClaim } from "#client/probe.ts";
import type { DrillWishes, Fault } from "./drill-faults.ts";

/** What came of one fault on one provider. */
export interface DrillRow {
  readonly provider: string;
  readonly fault: string;
  readonly what: string;
  readonly result: "pass" | "fail" | "skip";
  /** Causes and blames of which one has to be told. */
  readonly expected: string;
  /** What was told: cause and blame. */
  readonly reported: string;
  /** What was said to a person. */
  readonly message: string;
  /** From the submit, where no worker comes of it, else from the start of the process, to the moment in which this client knew. */
  readonly seconds: number | undefined;
  /** Why it did not pass. */
  readonly reason: string;
  readonly jobId: string | undefined;
}

export interface Drill {
  readonly client: HodeiClient;
  readonly wishes: DrillWishes;
  /** How long a report may take. */
  readonly patienceMs: number;
  /** The user wants no more. */
  readonly signal: AbortSignal;
  /** Gives the code of the refusal; undefined where there was none. */
  readonly tryRedeem: (claim: TokenClaim) => Promise<string | undefined>;
}

/** What has been seen of a job so far. */
interface Sight {
  readonly jobId: string;
  readonly submittedAt: number;
  startedAt: number | undefined;
  told: Failure | undefined;
  toldAt: number | undefined;
  /** Of what was done to it. */
  problem: string | undefined;
}

/** Does one fault to one provider. Rejects where the server cannot be asked. */
export async function drillFault(
  drill: Drill,
  fault: Fault,
  provider: Provider,
): Promise<DrillRow> {
  const unfit = fault.notFor?.(provider) ?? unfitness(provider);
  if (unfit !== undefined) return rowOf(fault, provider, { result: "skip", reason: unfit });
  const { client, wishes, patienceMs, signal } = drill;
  const spec = {
    name: `drill-${fault.name}`,
    ...fault.spec(wishes),
    provider: { name: provider.name, isStrict: true },
    queueTimeoutMs: patienceMs * 2,
  };
  const submittedAt = performance.now();
  const { id: jobId } = await client.submit(spec, { signal });
  const sight: Sight = {
    jobId,
    submittedAt,
    startedAt: undefined,
    told: undefined,
    toldAt: undefined,
    problem: undefined,
  };
  let isOver = false;
  try {
    await observe(drill, fault, sight);
    const job = await client.get(jobId);
    isOver = job.isFinal;
    signal.throwIfAborted();
    return rowOf(fault, provider, judge(fault, job, sight));
  } finally {
    if (!isOver) await end(client, jobId);
  }
}

function unfitness({ isEnabled, circuit, circuitReason }: Provider): string | undefined {
  if (!isEnabled) return "the provider is disabled";
  return circuit === "open" ? `the provider is given no work: ${circuitReason}` : undefined;
}

/** Follows the job until its fault is told, its end, or the end of patience. */
async function observe(drill: Drill, fault: Fault, sight: Sight): Promise<void> {
  const { client, patienceMs, signal } = drill;
  const patience = AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]);
  let acting: Promise<void> | undefined;
  try {
    for await (const event of client.watch(sight.jobId, { signal: patience })) {
      const now = performance.now();
      if (event.state === "starting" || event.state === "running") sight.startedAt = now;
      if (event.state === "running" && fault.act !== undefined) {
        acting ??= act(drill, fault, { sight, event });
      }
      if (event.failure === undefined) continue;
      sight.told = event.failure;
      sight.toldAt = now;
      if (fault.phase === "start" && isExpected(fault, event.failure)) return;
    }
  } catch (error) {
    if (!patience.aborted) throw error;
  } finally {
    await acting;
  }
}

async function act(
  drill: Drill,
  fault: Fault,
  { sight, event }: { readonly sight: Sight; readonly event: JobEvent },
): Promise<void> {
  const { client } = drill;
  try {
    if (fault.act === "redeem") {
      const code = await drill.tryRedeem({
        workerId: event.workerId ?? (await workerOf(client, sight.jobId)),
        otp: randomBytes(32).toString("base64url"),
        session: randomBytes(32).toString("base64url"),
      });
      sight.problem = await problemOf(code, client, sight.jobId);
    }
    sight.startedAt = performance.now();
    await client.cancel(sight.jobId, { reason: "the drill is over" });
  } catch (error) {
    sight.problem ??= error instanceof Error ? error.message : String(error);
    // So that nobody waits for what does not come.
    await client.cancel(sight.jobId).catch(() => undefined);
  }
}

async function workerOf(client: HodeiClient, jobId: string): Promise<string> {
  return (await client.get(jobId)).attempts.at(-1)?.workerId ?? "";
}

async function problemOf(
  code: string | undefined,
  client: HodeiClient,
  jobId: string,
): Promise<string | undefined> {
  if (code === "UNIMPLEMENTED") return agentsElsewhere;
  if (code !== "UNAUTHENTICATED") return `the made-up token was answered ${code ?? "OK"}`;
  const { state } = await client.get(jobId);
  return state === "running" ? undefined : `the worker's job is ${state} since then`;
}

const agentsElsewhere = "agents have an address of their own, which is not known here";

function isExpected({ causes, blames }: Fault, { cause, blame }: Failure): boolean {
  return causes.includes(cause) && blames.includes(blame);
}

type Verdict = Pick<DrillRow, "result" | "reason"> &
  Partial<Pick<DrillRow, "reported" | "message" | "seconds" | "jobId">>;

function judge(fault: Fault, job: Job, sight: Sight): Verdict {
  const { jobId, told = job.failure, submittedAt, startedAt = submittedAt, toldAt } = sight;
  const from = fault.phase === "start" ? submittedAt : Math.min(startedAt, toldAt ?? startedAt);
  const seen = {
    jobId,
    reported: told === undefined ? job.state : `${told.cause} (${told.blame})`,
    message: told?.message ?? "",
    seconds: toldAt === undefined ? undefined : (toldAt - from) / 1_000,
  };
  if (sight.problem === agentsElsewhere) return { ...seen, result: "skip", reason: sight.problem };
  if (sight.problem !== undefined) return { ...seen, result: "fail", reason: sight.problem };
  const excuse = fault.excuse?.(job, told);
  if (excuse !== undefined) return { ...seen, result: "skip", reason: excuse };
  if (told === undefined) {
    const reason = job.state === "succeeded" ? "the job succeeded" : "nothing was told in time";
    return { ...seen, result: "fail", reason };
  }
  if (!isExpected(fault, told)) {
    return { ...seen, result: "fail", reason: "another cause or blame was told" };
  }
  const wrong = fault.check?.(job, told);
  if (wrong !== undefined) return { ...seen, result: "fail", reason: wrong };
  if (fault.act !== "redeem") return { ...seen, result: "pass", reason: "" };
  return { ...seen, reported: "UNAUTHENTICATED", message: "", result: "pass", reason: "" };
}

function rowOf(fault: Fault, provider: Provider, verdict: Verdict): DrillRow {
  const { causes, blames, act: deed } = fault;
  const expected = `${causes.join("|")} (${blames.join("|")})`;
  return {
    provider: provider.name,
    fault: fault.name,
    what: fault.what,
    expected: deed === "redeem" ? "UNAUTHENTICATED" : expected,
    reported: "",
    message: "",
    seconds: undefined,
    jobId: undefined,
    ...verdict,
  };
}

/** Nothing of a drill stays behind. */
async function end(client: HodeiClient, jobId: string): Promise<void> {
  // One that is over needs no end, and a server that is gone has none.
  await client.cancel(jobId, { reason: "the drill is over" }).catch(() => undefined);
}
