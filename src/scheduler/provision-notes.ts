import type { Failure } from "#job/failure.ts";
import type { JobId } from "#job/id.ts";
import type { Unplaced } from "./place.ts";
import type { ProviderVerdict } from "./scheduler.ts";
import type { Parts } from "./start-parts.ts";

/** Tells jobs that no provider can run why that is; each job once per change of the reasons. */
export interface Notes {
  write(unplaced: readonly Unplaced[]): Promise<void>;
}

interface Told {
  readonly reasons: string;
  readonly ids: Set<JobId>;
  /** On the clock that never jumps. */
  nextAt: number;
}

const bounds = { groupsPerRound: 20, jobsPerPage: 100, jobsPerGroup: 1_000, pauseMs: 2_000 };

export function createNotes(parts: Parts): Notes {
  const told = new Map<string, Told>();
  return {
    async write(unplaced) {
      const groups = new Map<string, Unplaced>();
      for (const group of unplaced) {
        if (!group.canPass) groups.set(`${group.tenant}\n${group.classKey}`, group);
      }
      for (const key of told.keys()) if (!groups.has(key)) told.delete(key);
      let written = 0;
      for (const [key, group] of groups) {
        if (written >= bounds.groupsPerRound) return;
        const reasons = reasonsOf(group.verdicts);
        const last = told.get(key);
        const entry =
          last?.reasons === reasons ? last : { reasons, ids: new Set<JobId>(), nextAt: 0 };
        told.set(key, entry);
        if (entry.nextAt > parts.monotonic()) continue;
        written += 1;
        await tell(parts, group, entry);
        entry.nextAt = parts.monotonic() + bounds.pauseMs;
      }
    },
  };
}

async function tell(parts: Parts, group: Unplaced, entry: Told): Promise<void> {
  const page = await parts.store.listJobs({
    tenant: group.tenant,
    states: ["queued"],
    labels: {},
    text: "",
    submittedAfter: undefined,
    submittedBefore: undefined,
    pageSize: bounds.jobsPerPage,
    pageToken: undefined,
  });
  const fresh = page.rows
    .filter((job) => job.classKey === group.classKey && !entry.ids.has(job.id))
    .slice(0, bounds.jobsPerGroup - entry.ids.size)
    .map((job) => job.id);
  if (fresh.length === 0) return;
  for (const id of fresh) entry.ids.add(id);
  const failure = noProvider(group.verdicts);
  const { stage, message } = failure;
  await parts.store.recordStages(
    fresh.map((jobId) => ({ jobId, stage, workerId: undefined, message, failure })),
    parts.now(),
  );
  parts.watch.touch(fresh);
}

export function noProvider(verdicts: readonly ProviderVerdict[]): Failure {
  return {
    stage: "selecting",
    cause: "no_provider",
    blame: "policy",
    message:
      verdicts.length === 0
        ? "no provider is configured"
        : `no provider can run it: ${reasonsOf(verdicts)}`,
    userCodeMayHaveRun: false,
    evidence: Object.fromEntries(verdicts.map(({ provider, reason }) => [provider, reason])),
  };
}

export function reasonsOf(verdicts: readonly ProviderVerdict[]): string {
  return verdicts.map(({ provider, reason }) => `${provider}: ${reason}`).join("; ");
}
