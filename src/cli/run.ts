import type { Failure, HodeiClient, Job } from "#client/client.ts";
import { HodeiClientError } from "#client/error.ts";
import { type Console, openConsole } from "./console.ts";
import { exitOfJob, exits } from "./exit.ts";
import type { Host, LocalServer } from "./host.ts";
import { describeFailure } from "./jobs.ts";
import { createLogPrinter } from "./log-printer.ts";
import type { Call } from "./program.ts";
import { startProgress } from "./progress.ts";
import { type SpecFlags, specOf } from "./spec-flags.ts";

interface RunFlags extends SpecFlags {
  readonly local?: boolean;
  readonly raw?: boolean;
}

/** How long the rest of a log may take after its job is over. */
const logGraceMs = 10_000;

/** Submits, follows, and ends as the job does. */
export async function run({ host, flags, args }: Call<RunFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const spec = await specOf(flags, args, host);
  await using local = flags.local === true ? await host.startLocalServer() : undefined;
  try {
    await using client = await console.connect(local?.address);
    const leave = new AbortController();
    const { idempotencyKey, tenant } = flags;
    using interrupt = onInterrupt(host, () => leave.abort());
    const { id } = await client.submit(spec, { idempotencyKey, tenant, signal: leave.signal });
    if (console.isJson) await console.printJson({ type: "submitted", jobId: id });
    const call: Follow = { console, client, id, raw: flags.raw, signal: leave.signal };
    await using _canceller = cancelFirst(call, { interrupt, leave: () => leave.abort() });
    const job = await follow(call);
    return await report(job, console, local);
  } catch (error) {
    if (error instanceof HodeiClientError && error.code === "CANCELLED") return exits.cancelled;
    if (local !== undefined)
      await console.note(`hodei: the control plane's log is in ${local.keepLog()}`);
    throw error;
  }
}

interface Follow {
  readonly console: Console;
  readonly client: HodeiClient;
  readonly id: string;
  readonly raw: boolean | undefined;
  readonly signal: AbortSignal;
}

interface Interrupt extends Disposable {
  listen: (listener: () => void) => void;
}

/** Interrupts go to `first` until somebody else listens. */
function onInterrupt(host: Host, first: () => void): Interrupt {
  let listener = first;
  const registration = host.onInterrupt(() => listener());
  return {
    listen(next) {
      listener = next;
    },
    [Symbol.dispose]: () => registration[Symbol.dispose](),
  };
}

/** The first interrupt cancels the job, the second leaves it to itself. */
function cancelFirst(
  { console, client, id }: Follow,
  { interrupt, leave }: { interrupt: Interrupt; leave: () => void },
): AsyncDisposable {
  let cancelling: Promise<unknown> | undefined;
  const cancel = async (): Promise<void> => {
    await console.note(`hodei: cancelling ${id}; press Ctrl-C again to leave`);
    await client.cancel(id, { reason: "interrupted by the user" });
  };
  interrupt.listen(() => {
    if (cancelling === undefined) {
      cancelling = cancel().catch((error: unknown) => {
        // A job that is over meanwhile needs no cancel.
        if (error instanceof HodeiClientError && error.code === "FAILED_PRECONDITION") return;
        leave();
      });
      return;
    }
    void console.note(`hodei: left ${id} to itself; \`hodei jobs get ${id}\` shows it`);
    leave();
  });
  return {
    async [Symbol.asyncDispose]() {
      await cancelling;
    },
  };
}

/** Shows events and output until the job is over and its log has ended. */
async function follow({ console, client, id, raw, signal }: Follow): Promise<Job> {
  const stop = new AbortController();
  const both = AbortSignal.any([signal, stop.signal]);
  await using progress = startProgress(console, client, id);
  const hasSystem = console.isJson || console.host.stderr.isTTY === true;
  const print = createLogPrinter(console, { raw, hasSystem });

  const watching = async (): Promise<void> => {
    for await (const event of client.watch(id, { signal: both })) {
      progress.onEvent(event);
      if (console.isJson) await console.printJson({ type: "event", ...event });
    }
    AbortSignal.timeout(logGraceMs).addEventListener("abort", () => stop.abort());
  };
  const printing = async (): Promise<void> => {
    try {
      for await (const record of client.logs(id, { follow: true, signal: both })) {
        await progress.hide();
        await print(record);
      }
    } catch (error) {
      if (!stop.signal.aborted) throw error;
      await console.note(
        "hodei: the end of the log did not arrive; `hodei logs` may have it later",
      );
    }
  };
  const tasks = [watching(), printing()];
  try {
    await Promise.all(tasks);
  } catch (error) {
    stop.abort();
    await Promise.allSettled(tasks);
    throw error;
  }
  return await client.get(id, { signal });
}

async function report(job: Job, console: Console, local: LocalServer | undefined): Promise<number> {
  const exit = exitOfJob(job);
  if (console.isJson) await console.printJson({ type: "result", exit, job });
  else if (job.state !== "succeeded") await console.note(summarize(job, console));
  if (exit === exits.infrastructure && local !== undefined) {
    await console.note(`hodei: the control plane's log is in ${local.keepLog()}`);
  }
  return exit;
}

function summarize({ id, state, failure }: Job, { colors }: Console): string {
  const what = `hodei: job ${id} ${state === "timed_out" ? "timed out" : state}`;
  if (failure === undefined) return colors.red(what);
  const hint = hints[failure.cause];
  return colors.red(`${what}: ${describeFailure(failure)}${hint === undefined ? "" : `; ${hint}`}`);
}

const hints: Partial<Record<Failure["cause"], string>> = {
  command_not_found: "a command is started without a shell: try -- sh -c '…'",
  not_executable: "is the file executable for the worker's user?",
  preparation_failed: "see --cwd, --script and --stdin",
  out_of_memory: "ask for more with --memory",
  execution_timeout: "allow more with --timeout",
  queue_timeout: "allow more with --queue-timeout",
  start_timeout: "`hodei providers list` shows how providers are",
  start_failed: "`hodei providers list` shows how providers are",
  worker_lost: "--max-attempts with --retry-lost repeats such attempts",
  worker_died: "--max-attempts with --retry-lost repeats such attempts",
  worker_stopped: "--max-attempts with --retry-lost repeats such attempts",
  no_provider: "`hodei providers list` shows what there is",
  internal: "the server's log says more",
};
