import { expect, test } from "vitest";
import {
  checkHistory,
  type FinalLog,
  type FinalRead,
  type HistoryEvent,
  type Read,
  type Rule,
} from "./e2e/history.ts";

const read: Read = {
  kind: "read",
  begin: 10,
  end: 11,
  asTenant: "a",
  jobId: "j1",
  tenant: "a",
  version: 2,
  state: "starting",
  exitCode: undefined,
};
const final: FinalRead = {
  ...read,
  kind: "final",
  begin: 90,
  end: 91,
  version: 4,
  state: "succeeded",
  exitCode: 0,
  key: "k1",
  attempt: "a1",
};
const log: FinalLog = {
  kind: "log",
  jobId: "j1",
  attempt: "a1",
  written: ["one", "two", "three"],
  read: [
    { sequence: 1, text: "one" },
    { sequence: 2, text: "two" },
    { sequence: 3, text: "three" },
  ],
};
const good: readonly HistoryEvent[] = [
  { kind: "submit", tenant: "a", key: "k1", answer: "unknown" },
  { kind: "submit", tenant: "a", key: "k1", answer: "ok", jobId: "j1" },
  { kind: "submit", tenant: "a", key: "k2", answer: "fail" },
  { ...read, begin: 1, end: 2, version: 1, state: "queued" },
  read,
  { ...read, begin: 20, end: 30, version: 3, state: "running" },
  { kind: "run", jobId: "j1", attempt: "a1", start: 15, stop: 40, exitCode: 0 },
  final,
  log,
];

test("a correct history breaks no promise", () => {
  expect(checkHistory(good)).toEqual([]);
});

interface Fault {
  readonly rule: Rule;
  readonly history: readonly HistoryEvent[];
}

const without = (...kinds: readonly string[]) =>
  good.filter((event) => !kinds.includes(event.kind));

test.for<Fault>([
  {
    rule: "lost_submit",
    history: [...good, { kind: "submit", tenant: "a", key: "k3", answer: "ok", jobId: "j3" }],
  },
  {
    rule: "ghost_job",
    history: [...good, { ...final, jobId: "j2", key: "k2", exitCode: undefined }],
  },
  {
    rule: "ghost_job",
    history: [...good, { ...final, jobId: "j2", key: "never asked", exitCode: undefined }],
  },
  {
    rule: "two_jobs_for_one_key",
    history: [...good, { ...final, jobId: "j2", exitCode: undefined }],
  },
  {
    rule: "two_jobs_for_one_key",
    history: [...good, { kind: "submit", tenant: "a", key: "k1", answer: "ok", jobId: "j9" }],
  },
  { rule: "same_version_differs", history: [...good, { ...read, state: "running" }] },
  { rule: "same_version_differs", history: [...good, { ...final, kind: "read", exitCode: 1 }] },
  {
    rule: "final_state_changed",
    history: [...good, { ...read, begin: 95, end: 96, version: 5, state: "queued" }],
  },
  {
    rule: "illegal_move",
    history: [
      ...without("final"),
      { ...final, state: "timed_out", version: 2 + 9, exitCode: undefined },
      { ...read, version: 3, state: "succeeded" },
    ],
  },
  {
    rule: "illegal_move",
    history: [
      ...without("read"),
      { ...read, version: 1, state: "queued" },
      { ...read, version: 2, state: "running" },
    ],
  },
  { rule: "stale_read", history: [...good, { ...read, begin: 95, end: 96 }] },
  {
    rule: "overlapping_runs",
    history: [
      ...good,
      { kind: "run", jobId: "j1", attempt: "a2", start: 39, stop: 50, exitCode: 0 },
    ],
  },
  { rule: "outcome_from_nowhere", history: without("run") },
  { rule: "outcome_from_nowhere", history: [...without("final"), { ...final, exitCode: 7 }] },
  {
    rule: "log_out_of_order",
    history: [...without("log"), { ...log, read: [...log.read, { sequence: 3, text: "three" }] }],
  },
  {
    rule: "log_out_of_order",
    history: [...without("log"), { ...log, read: log.read.toSpliced(1, 1) }],
  },
  {
    rule: "log_out_of_order",
    history: [...without("log"), { ...log, read: log.read.toReversed() }],
  },
  {
    rule: "log_bytes_differ",
    history: [
      ...without("log"),
      { ...log, read: log.read.with(1, { sequence: 2, text: "tw\u00f6" }) },
    ],
  },
  { rule: "log_incomplete", history: [...without("log"), { ...log, read: log.read.slice(0, 2) }] },
  {
    rule: "log_incomplete",
    history: [...without("log"), { ...log, read: log.read.with(1, { sequence: 2, missing: 1 }) }],
  },
  {
    rule: "stuck_job",
    history: [
      ...without("final", "log"),
      { ...final, state: "running", version: 3, exitCode: undefined },
    ],
  },
  {
    rule: "leftover",
    history: [...good, { kind: "leftover", resource: "process 7", jobId: "j1" }],
  },
  { rule: "foreign_job_seen", history: [...good, { ...read, asTenant: "b" }] },
])("a planted fault is seen as $rule", ({ rule, history }) => {
  expect(checkHistory(history).map((violation) => violation.rule)).toContain(rule);
});
