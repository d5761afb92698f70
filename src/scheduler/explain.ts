import type { Stage } from "#job/failure.ts";
import type { Job, JobEvent } from "#job/job.ts";
import type { Demand } from "#store/store.ts";
import type { Worker } from "#worker/worker.ts";
import { probesOf } from "./place.ts";
import { type ClassVerdict, judgeClass } from "./place-verdicts.ts";
import { noProvider } from "./provision-notes.ts";
import type { Explanation } from "./scheduler.ts";
import type { Parts } from "./start-parts.ts";
import type { Strategies } from "./strategies.ts";

export interface ExplainOptions {
  readonly strategies: Strategies;
  readonly weightOf: (tenant: string) => number;
}

/** Says what a job waits for, from what is true now. */
export async function explain(
  parts: Parts,
  options: ExplainOptions,
  job: Job,
): Promise<Explanation> {
  const [workers, demand, ahead] = await Promise.all([
    parts.store.listLiveWorkers(),
    parts.store.readDemand(parts.now()),
    job.state === "queued" ? parts.store.countAhead(job.id) : undefined,
  ]);
  const { classKey, tenant } = job;
  const verdict = judgeNow(parts, { ...options, workers, classKey, tenant });
  const { stage, summary } =
    job.state === "queued"
      ? await explainQueued(parts, { job, workers, verdict })
      : explainAssigned(job);
  return {
    stage,
    summary,
    jobsAhead: ahead,
    tenantShare: shareOf(tenant, demand, options.weightOf),
    providers: verdict.verdicts,
  };
}

/** The same for a job that nobody has submitted: what would become of it now. */
export async function explainWish(
  parts: Parts,
  options: ExplainOptions,
  wish: { readonly classKey: string; readonly tenant: string },
): Promise<Explanation> {
  const { classKey, tenant } = wish;
  const [workers, demand] = await Promise.all([
    parts.store.listLiveWorkers(),
    parts.store.readDemand(parts.now()),
  ]);
  const verdict = judgeNow(parts, { ...options, workers, classKey, tenant });
  const jobsAhead = demand
    .filter((entry) => entry.classKey === classKey && entry.tenant === tenant)
    .reduce((sum, entry) => sum + entry.queued, 0);
  return {
    ...explainPlace(parts, workers, verdict),
    jobsAhead,
    tenantShare: shareOf(tenant, demand, options.weightOf),
    providers: verdict.verdicts,
  };
}

function shareOf(
  tenant: string,
  demand: readonly Demand[],
  weightOf: ExplainOptions["weightOf"],
): number {
  const tenants = new Set(demand.map((entry) => entry.tenant)).add(tenant);
  const total = [...tenants].reduce((sum, name) => sum + weightOf(name), 0);
  return total === 0 ? 0 : weightOf(tenant) / total;
}

export function judgeNow(
  parts: Parts,
  wish: {
    readonly strategies: Strategies;
    readonly workers: readonly Worker[];
    readonly classKey: string;
    readonly tenant: string | undefined;
  },
): ClassVerdict {
  const { workers } = wish;
  const providers = parts.providers.view();
  const probes = probesOf({ providers, workers });
  return judgeClass(wish.classKey, {
    providers,
    strategies: wish.strategies,
    tenant: wish.tenant,
    turn: 0,
    now: parts.now(),
    workersOf: (name) => workers.filter((worker) => worker.provider === name).length,
    probesOf: (name) => probes.get(name) ?? 0,
  });
}

interface Said {
  readonly stage: Stage;
  readonly summary: string;
}

async function explainQueued(
  parts: Parts,
  seen: { readonly job: Job; readonly workers: readonly Worker[]; readonly verdict: ClassVerdict },
): Promise<Said> {
  const { job, workers, verdict } = seen;
  const restMs = job.notBefore - parts.now();
  if (restMs > 0) {
    const why = job.attempts.at(-1)?.failure?.message;
    const because = why === undefined ? "" : `: ${why}`;
    return { stage: "queued", summary: `tries again in ${seconds(restMs)}${because}` };
  }
  const own = workers.find((worker) => worker.forJob === job.id && worker.readyAt === undefined);
  if (own !== undefined && own.state !== "stopping") return explainStart(parts, job, own);
  return explainPlace(parts, workers, verdict);
}

function explainPlace(parts: Parts, workers: readonly Worker[], verdict: ClassVerdict): Said {
  const { ranked, full, passing, canPass } = verdict;
  if (ranked.length > 0) {
    const provider = ranked[0] ?? "";
    return { stage: "selecting", summary: `waits for a worker, to be started on ${provider}` };
  }
  if (full.length > 0) {
    const busy = full.map((name) => busyOn(parts, name, workers)).join(", ");
    return { stage: "queued", summary: `waits for a worker: ${busy}` };
  }
  const { message } = noProvider(verdict.verdicts);
  if (!canPass) return { stage: "selecting", summary: message };
  const pauses = verdict.verdicts.filter(({ provider }) => passing.includes(provider));
  const said = pauses.map(({ provider, reason }) => `${provider} ${reason}`).join("; ");
  return { stage: "selecting", summary: `waits for a worker: ${said}` };
}

function busyOn(parts: Parts, name: string, workers: readonly Worker[]): string {
  const max = parts.providers.view().find((view) => view.name === name)?.maxWorkers ?? 0;
  const own = workers.filter((worker) => worker.provider === name);
  const ending = own.filter(({ state }) => state === "stopping" || state === "draining").length;
  const tail = ending === 0 ? "" : ` (${ending} of them ending)`;
  return `${own.length} of ${max} workers busy on ${name}${tail}`;
}

async function explainStart(parts: Parts, job: Job, worker: Worker): Promise<Said> {
  const last = await lastEvent(parts, job, worker);
  const since = seconds(parts.now() - worker.plannedAt);
  const stage = last?.stage ?? (worker.state === "planned" ? "creating" : "connecting");
  const detail = last === undefined || last.message === "" ? stage : `${stage}: ${last.message}`;
  const summary = `worker ${worker.id} has been starting on ${worker.provider} for ${since} (${detail})`;
  return { stage, summary };
}

/** The newest event about the worker; histories are bounded, and so is this. */
async function lastEvent(parts: Parts, job: Job, worker: Worker): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  let after = 0;
  for (let page = 0; page < 10; page++) {
    const events = await parts.store.listEvents(job.id, after, 200);
    last = events.findLast((event) => event.workerId === worker.id) ?? last;
    if (events.length < 200) break;
    after = events.at(-1)?.sequence ?? after;
  }
  return last;
}

function explainAssigned(job: Job): Said {
  const attempt = job.attempts.at(-1);
  const where = attempt === undefined ? "" : ` on worker ${attempt.workerId} (${attempt.provider})`;
  switch (job.state) {
    case "queued":
      return { stage: "queued", summary: "waits for a worker" };
    case "starting":
      return { stage: "preparing", summary: `is being started${where}` };
    case "running":
      return { stage: "running", summary: `runs${where}` };
    case "cancelling":
      return { stage: "running", summary: `is being cancelled${where}` };
    case "succeeded":
      return { stage: "ended", summary: "succeeded" };
    case "failed":
    case "cancelled":
    case "timed_out": {
      const why = job.failure === undefined ? "" : `: ${job.failure.message}`;
      return { stage: "ended", summary: `${job.state.replace("_", " ")}${why}` };
    }
  }
}

function seconds(ms: number): string {
  return `${Math.max(0, Math.ceil(ms / 1000))} s`;
}
