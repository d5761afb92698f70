import type { HodeiClient, JobEvent, Stage } from "#client/client.ts";
import { every } from "#every.ts";
import { type Console, write } from "./console.ts";
import { escapeLine } from "./escape.ts";
import { formatDuration } from "./table.ts";

/** The line that says what a job waits for. */
export interface Progress extends AsyncDisposable {
  readonly onEvent: (event: JobEvent) => void;
  /** Makes room for output. */
  readonly hide: () => Promise<void>;
}

const frames = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const frameMs = 100;
const explainMs = 2_000;

const meanings: Readonly<Record<Stage, string>> = {
  queued: "waiting in the queue",
  selecting: "choosing a provider",
  creating: "asking for a worker",
  scheduling: "finding a place for the worker",
  pulling: "fetching the image",
  connecting: "waiting for the worker to dial back",
  preparing: "preparing the process",
  running: "running",
  uploading: "delivering the log",
  ended: "ended",
};

/** Draws the line on a terminal until the job runs. Elsewhere only what goes wrong until then is told, each thing once. */
export function startProgress(console: Console, client: HodeiClient, jobId: string): Progress {
  const { stderr } = console.host;
  if (console.isJson) return silent;
  if (stderr.isTTY !== true) return tellTroubles(console, jobId);

  const startedAt = Date.now();
  let text = meanings.queued;
  let isPending = true;
  let isShown = false;
  let frame = 0;
  let explainAt = startedAt + explainMs;

  const explain = async (signal: AbortSignal): Promise<void> => {
    explainAt = Date.now() + explainMs;
    const { stage, summary, jobsAhead } = await client.explain(jobId, { signal });
    const ahead = jobsAhead === undefined || jobsAhead === 0 ? "" : ` (${jobsAhead} ahead)`;
    text = (summary || meanings[stage]) + ahead;
  };
  const draw = async (signal: AbortSignal): Promise<void> => {
    if (!isPending) return;
    if (Date.now() >= explainAt) await explain(signal);
    const mark = frames[frame++ % frames.length] ?? "";
    const line = `${mark} ${jobId} ${formatDuration(Date.now() - startedAt)}  ${escapeLine(text)}`;
    isShown = true;
    await write(stderr, `\r\x1b[K${console.colors.dim(line.slice(0, (stderr.columns ?? 80) - 1))}`);
  };
  const hide = async (): Promise<void> => {
    isPending = false;
    if (!isShown) return;
    isShown = false;
    await write(stderr, "\r\x1b[K");
  };
  // An explanation is a courtesy: without it the line shows the stage.
  const loop = every({ intervalMs: frameMs, onError: () => undefined }, draw);

  return {
    hide,
    onEvent({ state, stage, message, failure }) {
      const isWaiting = state === "queued" || state === "starting";
      if (isWaiting) text = failure?.message ?? (message || meanings[stage]);
      else void hide();
    },
    async [Symbol.asyncDispose]() {
      await loop[Symbol.asyncDispose]();
      await hide();
    },
  };
}

/** A log keeps what it is told, so it is told little. */
const mostTroubles = 20;

function tellTroubles(console: Console, jobId: string): Progress {
  const told = new Set<string>();
  let written = Promise.resolve();
  return {
    onEvent({ state, failure }) {
      if (state !== "queued" && state !== "starting") return;
      if (failure === undefined || told.has(failure.message) || told.size >= mostTroubles) return;
      told.add(failure.message);
      written = written.then(() =>
        console.note(`hodei: ${jobId} waits: ${escapeLine(failure.message)}`),
      );
    },
    hide: () => written,
    [Symbol.asyncDispose]: () => written,
  };
}

const silent: Progress = {
  onEvent: () => undefined,
  hide: () => Promise.resolve(),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};
