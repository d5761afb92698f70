import { readFileSync } from "node:fs";
import { HodeiClientError, type HodeiClient, type Job } from "#client/client.ts";
import type { HistoryEvent } from "./history.ts";

const linesPerJob = 40;

/** Says when it starts and stops, to a file that the system under test does not know of, and writes numbered lines meanwhile. */
const script = (ledger: string): string => `
trap '' PIPE
echo "start $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N)" >> ${ledger}
i=1
while [ $i -le ${linesPerJob} ]; do echo "$HODEI_JOB_ID line $i"; i=$((i+1)); sleep 0.05; done
echo "stop $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N) $1" >> ${ledger}
exit $(( $(printf '%s' "$HODEI_JOB_ID" | tail -c 1 | od -An -tu1) % 3 ))
`;

export interface LoadOptions {
  /** More than one where there is more than one server: each call goes to the next. */
  readonly clients: readonly [HodeiClient, ...HodeiClient[]];
  readonly jobs: number;
  /** Where jobs write down when they run. */
  readonly ledger: string;
  /** What goes wrong meanwhile. */
  readonly disturb: () => Promise<void>;
}

export interface LoadRecord {
  readonly history: readonly HistoryEvent[];
  readonly finals: readonly Job[];
}

/** Submits each job twice, reads at random while things go wrong, and gives the whole history once every job is over. */
export async function drive(options: LoadOptions): Promise<LoadRecord> {
  const { jobs, ledger, disturb } = options;
  const history: HistoryEvent[] = [];
  const accepted = new Map<string, string>();
  let turn = 0;
  const next = (): HodeiClient =>
    options.clients[turn++ % options.clients.length] ?? options.clients[0];
  const submits = Array.from({ length: jobs }, async (_, index) => {
    const key = `key-${index}`;
    const spec = { script: script(ledger), labels: { key } };
    // A driver sends each job twice: whatever the servers survive in between, it is one job.
    for (let round = 0; round < 2; round++) {
      try {
        const { id } = await next().submit(spec, { idempotencyKey: key });
        history.push({ kind: "submit", tenant: "default", key, answer: "ok", jobId: id });
        accepted.set(id, key);
      } catch (error) {
        if (!(error instanceof HodeiClientError)) throw error;
        history.push({ kind: "submit", tenant: "default", key, answer: "unknown" });
      }
    }
  });
  const reading = new AbortController();
  const readers = Array.from({ length: 3 }, () =>
    readAtRandom(next, { accepted, history }, reading.signal),
  );
  try {
    await disturb();
    await Promise.all(submits);
    const finals = await Promise.all([...accepted.keys()].map((id) => next().wait(id)));
    reading.abort();
    await Promise.all(readers);
    history.push(...readRuns(ledger).map(({ run }) => run));
    for (const job of finals) history.push(...(await restOf(next(), job)));
    return { history, finals };
  } finally {
    reading.abort();
  }
}

interface Seen {
  readonly accepted: ReadonlyMap<string, string>;
  readonly history: HistoryEvent[];
}

async function readAtRandom(
  next: () => HodeiClient,
  { accepted, history }: Seen,
  signal: AbortSignal,
) {
  while (!signal.aborted) {
    const ids = [...accepted.keys()];
    const id = ids[Math.floor(Math.random() * ids.length)];
    const begin = performance.now();
    try {
      if (id === undefined) await next().list({ signal }).next();
      else history.push({ kind: "read", begin, ...viewOf(await next().get(id, { signal })) });
    } catch (error) {
      if (!(error instanceof HodeiClientError)) throw error;
    }
  }
}

function viewOf(job: Job) {
  return {
    end: performance.now(),
    asTenant: "default",
    jobId: job.id,
    tenant: job.tenant,
    version: job.version,
    state: job.state,
    exitCode: job.exitCode,
  };
}

async function restOf(client: HodeiClient, job: Job): Promise<HistoryEvent[]> {
  const attempt = `${job.id}/${job.attempts.length}`;
  const text = new TextDecoder();
  const read = [];
  for await (const record of client.logs(job.id, { stream: "stdout" })) {
    const { sequence, gap } = record;
    read.push(
      gap === undefined
        ? { sequence, text: text.decode(record.data) }
        : { sequence, missing: gap.records },
    );
  }
  const written = Array.from({ length: linesPerJob }, (_, line) => `${job.id} line ${line + 1}\n`);
  const begin = performance.now();
  return [
    { kind: "final", begin, ...viewOf(job), key: job.spec?.labels["key"] ?? "", attempt },
    { kind: "log", jobId: job.id, attempt, written, read },
  ];
}

/** One run per attempt that began, from what the jobs wrote down themselves. */
export function readRuns(file: string) {
  const lines = readFileIfAny(file)
    .trim()
    .split("\n")
    .filter((line) => line !== "");
  const stops = new Map(
    lines.flatMap((line) => {
      const [word, , attempt = "", at] = line.split(" ");
      return word === "stop" ? [[attempt, Number(at)] as const] : [];
    }),
  );
  return lines.flatMap((line) => {
    const [word, jobId = "", attempt = "", at] = line.split(" ");
    if (word !== "start") return [];
    const stop = stops.get(attempt);
    const exitCode = stop === undefined ? undefined : jobId.charCodeAt(jobId.length - 1) % 3;
    return [{ run: { kind: "run" as const, jobId, attempt, start: Number(at), stop, exitCode } }];
  });
}

function readFileIfAny(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
