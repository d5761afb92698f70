import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { HodeiClientError, type HodeiClient, type Job } from "#client/client.ts";
import { checkHistory, type HistoryEvent } from "./history.ts";
import { ServerProcess } from "./server-process.ts";

const jobs = 24;
const linesPerJob = 40;
const kills = 4;

/** Says when it starts and stops, to a file that the system under test does not know of, and writes numbered lines meanwhile. */
const script = (ledger: string): string => `
trap '' PIPE
echo "start $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N)" >> ${ledger}
i=1
while [ $i -le ${linesPerJob} ]; do echo "$HODEI_JOB_ID line $i"; i=$((i+1)); sleep 0.05; done
echo "stop $HODEI_JOB_ID $HODEI_JOB_ID/$HODEI_ATTEMPT $(date +%s%N) $1" >> ${ledger}
exit $(( $(printf '%s' "$HODEI_JOB_ID" | tail -c 1 | od -An -tu1) % 3 ))
`;

test("killing the server under load loses nothing, runs nothing twice and leaves nothing behind", async () => {
  const server = await ServerProcess.start({ HODEI_PROCESS_MAX_WORKERS: "6" });
  onTestFinished(() => server[Symbol.asyncDispose]());
  const ledger = join(server.directory, "ledger");
  const client = server.client();
  onTestFinished(() => client[Symbol.asyncDispose]());
  const history: HistoryEvent[] = [];
  const accepted = new Map<string, string>();

  const submits = Array.from({ length: jobs }, async (_, index) => {
    const key = `key-${index}`;
    const spec = { script: script(ledger), labels: { key } };
    // A driver sends each job twice: whatever the server survives in between, it is one job.
    for (let round = 0; round < 2; round++) {
      try {
        const { id } = await client.submit(spec, { idempotencyKey: key });
        history.push({ kind: "submit", tenant: "default", key, answer: "ok", jobId: id });
        accepted.set(id, key);
      } catch (error) {
        if (!(error instanceof HodeiClientError)) throw error;
        history.push({ kind: "submit", tenant: "default", key, answer: "unknown" });
      }
    }
  });
  const reading = new AbortController();
  onTestFinished(() => reading.abort());
  const readers = Array.from({ length: 3 }, () =>
    readAtRandom(client, { accepted, history }, reading.signal),
  );

  for (let round = 0; round < kills; round++) {
    await vi.waitUntil(() => readLedger(ledger).length >= (round + 1) * 4, { timeout: 60_000 });
    await server.end("SIGKILL");
    await server.start();
  }
  await Promise.all(submits);

  const finals = await Promise.all([...accepted.keys()].map((id) => client.wait(id)));
  reading.abort();
  await Promise.all(readers);
  await server.isEmpty();

  const runs = readLedger(ledger);
  history.push(...runs.map(({ run }) => run));
  for (const job of finals) history.push(...(await restOf(client, job)));
  expect(checkHistory(history)).toEqual([]);
  expect(finals).toHaveLength(jobs);
  expect(finals.every((job) => job.attempts.length === 1)).toBe(true);
});

interface Ledger {
  readonly accepted: ReadonlyMap<string, string>;
  readonly history: HistoryEvent[];
}

async function readAtRandom(
  client: HodeiClient,
  { accepted, history }: Ledger,
  signal: AbortSignal,
) {
  while (!signal.aborted) {
    const ids = [...accepted.keys()];
    const id = ids[Math.floor(Math.random() * ids.length)];
    const begin = performance.now();
    try {
      if (id === undefined) await client.list({ signal }).next();
      else history.push({ kind: "read", begin, ...viewOf(await client.get(id, { signal })) });
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
function readLedger(file: string) {
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
