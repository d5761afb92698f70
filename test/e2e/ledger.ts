import { existsSync, readFileSync } from "node:fs";
import { expect, vi } from "vitest";
import type { HodeiClient, Job, LogRecord, LogsOptions } from "#client/client.ts";

/** One line per word that jobs write down outside of the system under test: `<word> <attempt> <nanoseconds>`. */
export interface Entry {
  readonly word: string;
  readonly attempt: number;
  readonly at: number;
}

/** A shell line that writes an entry. */
export function note(word: string, file: string): string {
  return `echo "${word} $HODEI_ATTEMPT $(date +%s%N)" >> ${file}`;
}

export function readLedger(file: string): Entry[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => {
      const [word = "", attempt = "", at = ""] = line.split(" ");
      return { word, attempt: Number(attempt), at: Number(at) };
    });
}

/** Resolves once a job has written so many of one word. */
export async function untilNoted(file: string, word: string, count = 1): Promise<void> {
  const isThere = (): boolean =>
    readLedger(file).filter((entry) => entry.word === word).length >= count;
  await vi.waitUntil(isThere, { timeout: 60_000, interval: 50 });
}

/** Pids that jobs wrote down, one per line. */
export function readPids(file: string): number[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number);
}

export function exists(pid: number): boolean {
  if (!existsSync(`/proc/${pid}`)) return false;
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

export async function recordsOf(
  client: HodeiClient,
  jobId: string,
  options: LogsOptions = {},
): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const record of client.logs(jobId, options)) records.push(record);
  return records;
}

/** What a job wrote to its standard output, and whether something of it is missing. */
export async function outputOf(
  client: HodeiClient,
  jobId: string,
  options: LogsOptions = {},
): Promise<{ readonly text: string; readonly gaps: number }> {
  const records = await recordsOf(client, jobId, { stream: "stdout", ...options });
  return {
    text: Buffer.concat(records.map(({ data }) => data)).toString(),
    gaps: records.filter(({ gap }) => gap !== undefined).length,
  };
}

/** Awaits that the job has succeeded with one attempt and one start, and nothing of its output is missing or there twice. */
export async function expectRanOnce(
  client: HodeiClient,
  job: { readonly id: string; readonly ledger: string; readonly text: string },
): Promise<void> {
  const { id, ledger, text } = job;
  const ended = await client.wait(id);
  expect(ended).toMatchObject({ state: "succeeded", exitCode: 0 });
  expect(ended.attempts).toHaveLength(1);
  expect(readLedger(ledger).filter(({ word }) => word === "start")).toHaveLength(1);
  expect(await outputOf(client, id, { follow: true })).toEqual({ text, gaps: 0 });
}

/** Resolves once the job is in that state, or over. */
export async function untilState(
  client: HodeiClient,
  jobId: string,
  state: Job["state"],
): Promise<Job> {
  for await (const event of client.watch(jobId)) if (event.state === state) break;
  return client.get(jobId);
}
