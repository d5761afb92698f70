/**
 * Checks a recorded history offline. Drivers record every call when it begins and when it is answered; ground truth comes from outside the system: each
 * real job writes when its process started and stopped, and what it wrote. Keys are versioned and results unique, so a sweep per job is sound and linear.
 *
 * An answer is `ok`, `fail` (it certainly did not happen) or `unknown` (no answer, or one that says so).
 */
import { isFinal, type JobState, moves } from "#job/state.ts";

/** Times are in any unit, of one monotonic clock. */
export type HistoryEvent = Submit | Read | FinalRead | Run | FinalLog | Leftover;

/** A submit. `jobId` is there when it was answered `ok`. */
export interface Submit {
  readonly kind: "submit";
  readonly tenant: string;
  readonly key: string;
  readonly answer: "ok" | "fail" | "unknown";
  readonly jobId?: string;
}

/** A job as some reader saw it between two moments. */
export interface Read {
  readonly kind: "read";
  readonly begin: number;
  readonly end: number;
  readonly asTenant: string;
  readonly jobId: string;
  readonly tenant: string;
  readonly version: number;
  readonly state: JobState;
  readonly exitCode: number | undefined;
}

/** A job as it was once everything had come to rest. */
export interface FinalRead extends Omit<Read, "kind"> {
  readonly kind: "final";
  readonly key: string;
  readonly attempt: string | undefined;
}

/** A process of the job, as it says itself. `stop` is missing when it was killed. */
export interface Run {
  readonly kind: "run";
  readonly jobId: string;
  readonly attempt: string;
  readonly start: number;
  readonly stop: number | undefined;
  readonly exitCode: number | undefined;
}

/** The whole log of one attempt's stream at rest, against what the process wrote. */
export interface FinalLog {
  readonly kind: "log";
  readonly jobId: string;
  readonly attempt: string;
  readonly written: readonly string[];
  readonly read: readonly LogLine[];
}

export type LogLine =
  | { readonly sequence: number; readonly text: string }
  | { readonly sequence: number; readonly missing: number };

/** Something that still exists at rest, and belongs to a job. */
export interface Leftover {
  readonly kind: "leftover";
  readonly resource: string;
  readonly jobId: string | undefined;
}

export interface Violation {
  readonly rule: Rule;
  readonly detail: string;
}

export type Rule =
  | "lost_submit"
  | "ghost_job"
  | "two_jobs_for_one_key"
  | "same_version_differs"
  | "final_state_changed"
  | "illegal_move"
  | "stale_read"
  | "overlapping_runs"
  | "outcome_from_nowhere"
  | "log_out_of_order"
  | "log_bytes_differ"
  | "log_incomplete"
  | "stuck_job"
  | "leftover"
  | "foreign_job_seen";

/** Every promise that the history breaks; empty: none. */
export function checkHistory(history: readonly HistoryEvent[]): readonly Violation[] {
  const finals = new Map(ofKind(history, "final").map((final) => [final.jobId, final]));
  return [
    ...checkSubmits(ofKind(history, "submit"), finals),
    ...[...groupBy([...ofKind(history, "read"), ...finals.values()], (read) => read.jobId)].flatMap(
      ([jobId, reads]) => checkReads(jobId, reads),
    ),
    ...checkRuns(ofKind(history, "run"), finals),
    ...ofKind(history, "log").flatMap((log) => checkLog(log, finals.get(log.jobId))),
    ...checkRest(history, finals),
  ];
}

type Finals = ReadonlyMap<string, FinalRead>;

function checkSubmits(submits: readonly Submit[], finals: Finals): Violation[] {
  const violations: Violation[] = [];
  const answersByKey = groupBy(submits, (submit) => `${submit.tenant}/${submit.key}`);
  const jobsByKey = groupBy([...finals.values()], (final) => `${final.tenant}/${final.key}`);
  for (const { answer, jobId } of submits) {
    if (answer === "ok" && !finals.has(jobId ?? "")) {
      violations.push({ rule: "lost_submit", detail: String(jobId) });
    }
  }
  for (const [key, jobs] of jobsByKey) {
    const answers = answersByKey.get(key) ?? [];
    if (answers.every((submit) => submit.answer === "fail")) {
      violations.push({ rule: "ghost_job", detail: key });
    }
    if (jobs.length > 1) violations.push({ rule: "two_jobs_for_one_key", detail: key });
  }
  for (const [key, answers] of answersByKey) {
    const ids = new Set(answers.flatMap((submit) => submit.jobId ?? []));
    if (ids.size > 1) violations.push({ rule: "two_jobs_for_one_key", detail: key });
  }
  return violations;
}

function checkReads(jobId: string, reads: readonly (Read | FinalRead)[]): Violation[] {
  const violations: Violation[] = [];
  const byVersion = new Map<number, Read | FinalRead>();
  for (const read of reads) {
    const other = byVersion.get(read.version);
    if (other !== undefined && (other.state !== read.state || other.exitCode !== read.exitCode)) {
      violations.push({ rule: "same_version_differs", detail: `${jobId} version ${read.version}` });
    }
    byVersion.set(read.version, read);
    if (read.tenant !== read.asTenant && read.asTenant !== "*") {
      violations.push({ rule: "foreign_job_seen", detail: `${jobId} by ${read.asTenant}` });
    }
  }
  const versions = [...byVersion.values()].sort((one, other) => one.version - other.version);
  for (const [at, read] of versions.entries()) {
    const before = versions[at - 1];
    if (before === undefined) continue;
    const detail = `${jobId} from ${before.state} to ${read.state}`;
    if (isFinal(before.state)) violations.push({ rule: "final_state_changed", detail });
    else if (!isReachable(before, read)) violations.push({ rule: "illegal_move", detail });
  }
  return [...violations, ...checkOrder(jobId, reads)];
}

/** A read must not go behind any read that had ended before it began. */
function checkOrder(jobId: string, reads: readonly (Read | FinalRead)[]): Violation[] {
  const ended = [...reads].sort((one, other) => one.end - other.end);
  const begun = [...reads].sort((one, other) => one.begin - other.begin);
  let next = 0;
  let newest = 0;
  return begun.flatMap((read): Violation[] => {
    for (let end = ended[next]; end !== undefined && end.end < read.begin; end = ended[++next]) {
      newest = Math.max(newest, end.version);
    }
    return read.version < newest
      ? [{ rule: "stale_read", detail: `${jobId} saw ${read.version} after ${newest}` }]
      : [];
  });
}

function checkRuns(runs: readonly Run[], finals: Finals): Violation[] {
  const violations: Violation[] = [];
  for (const [jobId, all] of groupBy(runs, (run) => run.jobId)) {
    const ordered = [...all].sort((one, other) => one.start - other.start);
    for (const [at, run] of ordered.entries()) {
      const before = ordered[at - 1];
      if (before !== undefined && before.stop !== undefined && run.start < before.stop) {
        violations.push({
          rule: "overlapping_runs",
          detail: `${jobId}: ${before.attempt}, ${run.attempt}`,
        });
      }
    }
  }
  for (const final of finals.values()) {
    if (final.exitCode === undefined) continue;
    const isReal = runs.some(
      (run) =>
        run.jobId === final.jobId &&
        run.attempt === final.attempt &&
        run.exitCode === final.exitCode,
    );
    if (!isReal) violations.push({ rule: "outcome_from_nowhere", detail: final.jobId });
  }
  return violations;
}

function checkLog(log: FinalLog, final: FinalRead | undefined): Violation[] {
  const violations: Violation[] = [];
  let want = 1;
  let isComplete = true;
  for (const line of log.read) {
    if (line.sequence !== want) {
      violations.push({
        rule: "log_out_of_order",
        detail: `${log.attempt}: wanted ${want}, got ${line.sequence}`,
      });
    }
    if ("missing" in line) {
      isComplete = false;
      want = line.sequence + line.missing;
      continue;
    }
    if (log.written[line.sequence - 1] !== line.text) {
      violations.push({
        rule: "log_bytes_differ",
        detail: `${log.attempt}: record ${line.sequence}`,
      });
    }
    want = line.sequence + 1;
  }
  // A job that succeeded has delivered all that it wrote (G22).
  if (final?.state === "succeeded" && final.attempt === log.attempt) {
    if (!isComplete || want !== log.written.length + 1) {
      violations.push({ rule: "log_incomplete", detail: `${log.attempt}: ${want - 1} records` });
    }
  }
  return violations;
}

function checkRest(history: readonly HistoryEvent[], finals: Finals): Violation[] {
  const stuck = [...finals.values()]
    .filter((final) => !isFinal(final.state))
    .map((final): Violation => ({ rule: "stuck_job", detail: `${final.jobId} is ${final.state}` }));
  const left = ofKind(history, "leftover").map((leftover): Violation => ({
    rule: "leftover",
    detail: leftover.resource,
  }));
  return [...stuck, ...left];
}

/** Whether exactly as many moves lead from one state to the other as the versions differ. */
function isReachable(from: Read | FinalRead, to: Read | FinalRead): boolean {
  let states = new Set<JobState>([from.state]);
  for (let version = from.version; version < to.version; version++) {
    const reached = [...states].flatMap((state) =>
      Object.values(moves).flatMap((move) => (move.from.includes(state) ? [move.to] : [])),
    );
    states = new Set(reached);
  }
  return states.has(to.state);
}

function ofKind<Kind extends HistoryEvent["kind"]>(
  history: readonly HistoryEvent[],
  kind: Kind,
): Extract<HistoryEvent, { kind: Kind }>[] {
  return history.filter(
    (event): event is Extract<HistoryEvent, { kind: Kind }> => event.kind === kind,
  );
}

function groupBy<Row>(rows: readonly Row[], keyOf: (row: Row) => string): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = keyOf(row);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return groups;
}
