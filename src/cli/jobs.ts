import type { Explanation, Failure, Job, JobEvent, JobState } from "#client/client.ts";
import { type Console, openConsole } from "./console.ts";
import { escapeLine } from "./escape.ts";
import { exits } from "./exit.ts";
import type { Pairs } from "./parse.ts";
import type { Call } from "./program.ts";
import {
  formatDuration,
  formatFields,
  formatCost,
  formatSize,
  formatTable,
  formatTime,
  paintState,
  titleOf,
} from "./table.ts";
import { take } from "./take.ts";

interface ListFlags {
  readonly state?: readonly JobState[];
  readonly label?: Pairs;
  readonly tenant?: string;
  readonly text?: string;
  readonly since?: number;
  readonly until?: number;
  readonly limit: number;
}

export async function listJobs({ host, flags }: Call<ListFlags>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const now = Date.now();
  const jobs = await take(
    client.list({
      states: flags.state,
      labels: flags.label,
      tenant: flags.tenant,
      text: flags.text,
      submittedAfter: flags.since === undefined ? undefined : new Date(now - flags.since),
      submittedBefore: flags.until === undefined ? undefined : new Date(now - flags.until),
    }),
    flags.limit,
  );
  if (console.isJson) {
    await console.printJson(jobs);
    return exits.done;
  }
  const head = ["JOB", "STATE", "AGE", "TOOK", "TRIES", "EXIT", "NAME"];
  const rows = jobs.map((job) => [
    job.id,
    job.state,
    job.submittedAt === undefined ? "" : formatDuration(now - job.submittedAt.getTime()),
    tookOf(job, now),
    String(job.attempts.length),
    String(job.exitCode ?? ""),
    titleOf(job),
  ]);
  await console.print(formatTable(head, rows));
  return exits.done;
}

export async function getJob({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const job = await client.get(args[0] ?? "");
  if (console.isJson) await console.printJson(job);
  else await console.print(describeJob(job));
  return exits.done;
}

export async function watchJob({
  host,
  flags,
  args,
}: Call<{ readonly after?: number }>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for await (const event of client.watch(args[0] ?? "", { after: flags.after })) {
    if (console.isJson) await console.printJson(event);
    else await console.print(describeEvent(event, console));
  }
  return exits.done;
}

export async function cancelJobs({
  host,
  flags,
  args,
}: Call<{ readonly reason?: string }>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const id of args) {
    const job = await client.cancel(id, { reason: flags.reason });
    if (console.isJson) await console.printJson(job);
    else await console.print(`${job.id} ${paintState(job.state, console.colors)}`);
  }
  return exits.done;
}

export async function explainJob({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const explanation = await client.explain(args[0] ?? "");
  if (console.isJson) await console.printJson(explanation);
  else await console.print(describeExplanation(explanation));
  return exits.done;
}

/** Stage, cause and blame of a failure in one line. */
export function describeFailure(failure: Failure): string {
  const { message, stage, cause, blame, evidence } = failure;
  const seen = Object.entries(evidence).map(([name, value]) => `${name}=${value}`);
  const words = [`stage ${stage}`, `cause ${cause}`, `blame ${blame}`, ...seen];
  return escapeLine(`${message} (${words.join(", ")})`);
}

function describeJob(job: Job): string {
  const { spec } = job;
  const fields = formatFields({
    job: job.id,
    name: spec?.name,
    tenant: job.tenant,
    state: job.state,
    command: spec?.command.length ? spec.command : undefined,
    script: spec?.script?.content,
    labels: labelsOf(spec?.labels),
    priority: spec?.priority,
    submitted: job.submittedAt,
    since: job.stateAt,
    deadline: job.deadline,
    ended: job.endedAt,
    "exit code": job.exitCode,
    failure: job.failure && describeFailure(job.failure),
    "expires at": job.expiresAt,
    correlation: job.correlationId,
  });
  if (job.attempts.length === 0) return fields;
  const head = [
    "TRY",
    "WORKER",
    "PROVIDER",
    "STATE",
    "STARTED",
    "TOOK",
    "EXIT",
    "MEMORY",
    "COST",
    "FAILURE",
  ];
  const rows = job.attempts.map((attempt) => [
    String(attempt.number),
    attempt.workerId,
    attempt.provider,
    attempt.state,
    formatTime(attempt.startedAt),
    spanOf(attempt.startedAt, attempt.endedAt),
    attempt.signal === undefined ? String(attempt.exitCode ?? "") : `signal ${attempt.signal}`,
    attempt.peak === undefined ? "" : formatSize(attempt.peak.memoryBytes),
    attempt.cost === undefined ? "" : formatCost(attempt.cost),
    attempt.failure?.message ?? "",
  ]);
  return `${fields}\n\n${formatTable(head, rows)}`;
}

function describeEvent(event: JobEvent, { colors }: Console): string {
  const words = [
    colors.dim(formatTime(event.at)),
    paintState(event.state, colors),
    event.stage,
    event.attempt === undefined ? "" : `attempt ${event.attempt}`,
    event.workerId ?? "",
    event.message === event.failure?.message ? "" : escapeLine(event.message),
    event.failure === undefined ? "" : colors.red(describeFailure(event.failure)),
    event.dropped === 0 ? "" : colors.dim(`(${event.dropped} earlier events are gone)`),
  ];
  return words.filter((word) => word !== "").join("  ");
}

/** What a job waits for, and the verdict on each provider. */
export function describeExplanation(explanation: Explanation): string {
  const fields = formatFields({
    state: explanation.state,
    stage: explanation.stage,
    summary: explanation.summary,
    "jobs ahead": explanation.jobsAhead,
    "tenant's share": `${Math.round(explanation.tenantShare * 100)} %`,
  });
  if (explanation.providers.length === 0) return fields;
  const head = "PROVIDER,TYPE,ELIGIBLE,RANK,SCORE,PRICE/H,STARTS IN,CIRCUIT,REASON".split(",");
  const ranked = explanation.providers.toSorted(
    (one, other) => (one.rank ?? Infinity) - (other.rank ?? Infinity) || 0,
  );
  const rows = ranked.map((verdict) => [
    verdict.provider,
    verdict.type,
    verdict.isEligible ? "yes" : "no",
    String(verdict.rank ?? ""),
    verdict.isEligible ? verdict.score.toFixed(2) : "",
    formatCost(verdict.pricePerHour),
    verdict.startEstimateMs === undefined ? "" : formatDuration(verdict.startEstimateMs),
    verdict.circuit.replace("_", " "),
    verdict.reason,
  ]);
  return `${fields}\n\n${formatTable(head, rows)}`;
}

function labelsOf(labels: Pairs = {}): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(" ");
}

function tookOf({ attempts, endedAt }: Job, now: number): string {
  return spanOf(attempts.at(-1)?.startedAt, endedAt ?? new Date(now));
}

function spanOf(from: Date | undefined, to: Date | undefined): string {
  return from === undefined || to === undefined
    ? ""
    : formatDuration(to.getTime() - from.getTime());
}
