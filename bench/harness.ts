import { readFile } from "node:fs/promises";
import { median } from "./parts/spin.ts";

/** One question to the product, answered by cases that take turns within one run. */
export interface Question {
  readonly name: string;
  /** What is asked, in one sentence. */
  readonly asks: string;
  run(options: RunOptions): Promise<readonly Result[]>;
}

export interface RunOptions {
  readonly rounds: number;
}

/** One line of the answer. */
export interface Result {
  readonly bench: string;
  readonly case: string;
  /** Undefined: it was not measured, and `note` says why. */
  readonly value: number | undefined;
  readonly unit: string;
  readonly min?: number;
  readonly max?: number;
  /** Median of the ratios of each round to the case `against` in the same round. */
  readonly ratio?: number;
  readonly against?: string;
  /** What must hold, such as `ratio >= 0.75`. */
  readonly target?: string;
  readonly reached?: boolean;
  /** Medians of other figures of the same rounds. */
  readonly more?: Readonly<Record<string, number>>;
  readonly note?: string;
}

/** What one case gave in one round. */
export interface Sample {
  readonly value: number;
  readonly more?: Readonly<Record<string, number>>;
}

export interface Case {
  readonly name: string;
  measure(round: number): Promise<Sample>;
}

/** The samples of every case, by name, round by round. */
export type Samples = ReadonlyMap<string, readonly Sample[]>;

/**
 * Lets the cases take turns, every other round in reverse, so that a drift of the machine hits all of them alike. A first round, which is thrown
 * away, warms them up.
 */
export async function takeTurns(cases: readonly Case[], rounds: number): Promise<Samples> {
  const samples = new Map<string, Sample[]>(cases.map((one) => [one.name, []]));
  for (let round = 0; round <= rounds; round++) {
    for (const one of round % 2 === 0 ? cases : cases.toReversed()) {
      const sample = await one.measure(round);
      if (round > 0) samples.get(one.name)?.push(sample);
    }
  }
  return samples;
}

export interface Verdict {
  readonly bench: string;
  readonly case: string;
  readonly unit: string;
  readonly against?: string;
  readonly target?: Target;
  readonly note?: string;
  /** Judges this figure of `more` instead of the value. */
  readonly figure?: string;
}

export interface Target {
  readonly of: "ratio" | "value";
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** The medians of a case, its ratio to another case and whether the target holds. */
export function judge(samples: Samples, verdict: Verdict): Result {
  const own = (samples.get(verdict.case) ?? []).map((one) => pick(one, verdict.figure));
  const other = (samples.get(verdict.against ?? "") ?? []).map((one) => pick(one, verdict.figure));
  const ratio =
    other.length === 0 ? undefined : median(own.map((one, at) => one / (other[at] ?? NaN)));
  const value = median(own);
  const judged = verdict.target?.of === "ratio" ? ratio : value;
  return {
    bench: verdict.bench,
    case: verdict.figure === undefined ? verdict.case : `${verdict.case}:${verdict.figure}`,
    value,
    unit: verdict.unit,
    min: Math.min(...own),
    max: Math.max(...own),
    ...(ratio === undefined || verdict.against === undefined
      ? {}
      : { ratio, against: verdict.against }),
    ...judgement(judged, verdict.target),
    ...(verdict.figure === undefined ? { more: medians(samples.get(verdict.case) ?? []) } : {}),
    ...(verdict.note === undefined ? {} : { note: verdict.note }),
  };
}

/** A result of one value that is not sampled by `takeTurns`. */
export function judgeValue(
  line: Pick<Result, "bench" | "case" | "value" | "unit" | "ratio" | "against" | "more" | "note">,
  target?: Target,
): Result {
  return { ...line, ...judgement(target?.of === "ratio" ? line.ratio : line.value, target) };
}

/** The line of a case that could not be measured here. */
export function notRun(bench: string, name: string, why: string): Result {
  return { bench, case: name, value: undefined, unit: "", note: `not run: ${why}` };
}

function judgement(
  judged: number | undefined,
  target: Target | undefined,
): Pick<Result, "target" | "reached"> {
  if (target === undefined) return {};
  const bounds = [
    ...(target.atLeast === undefined ? [] : [`${target.of} >= ${target.atLeast}`]),
    ...(target.atMost === undefined ? [] : [`${target.of} <= ${target.atMost}`]),
  ];
  const reached =
    judged !== undefined &&
    judged >= (target.atLeast ?? -Infinity) &&
    judged <= (target.atMost ?? Infinity);
  return { target: bounds.join(" and "), reached };
}

function pick(sample: Sample, figure: string | undefined): number {
  return figure === undefined ? sample.value : (sample.more?.[figure] ?? NaN);
}

function medians(samples: readonly Sample[]): Readonly<Record<string, number>> {
  const names = new Set(samples.flatMap((one) => Object.keys(one.more ?? {})));
  return Object.fromEntries(
    [...names].map((name) => [name, median(samples.map((one) => one.more?.[name] ?? NaN))]),
  );
}

/** Processor time of a process so far, as the kernel counts it: in steps of 10 ms. */
export async function readCpuMicros(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  // Its name, which may hold anything, stands in brackets before.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** Bytes of a process's resident memory. */
export async function readRssBytes(pid: number): Promise<number> {
  const statm = await readFile(`/proc/${pid}/statm`, "utf8");
  return Number(statm.split(" ")[1]) * 4096;
}
