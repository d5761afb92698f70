import type { Provider } from "#client/client.ts";
import { type CommonFlags, type Console, openConsole } from "./console.ts";
import { type Drill, drillFault, type DrillRow } from "./drill-run.ts";
import { type Fault, faults } from "./drill-faults.ts";
import { exits, UsageError } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatTable } from "./table.ts";

export interface DrillFlags extends CommonFlags {
  readonly provider?: readonly string[];
  readonly only?: readonly string[];
  readonly patience: number;
  readonly parallel: number;
  readonly missingImage: string;
  readonly memory: number;
}

/** Lets things go wrong on purpose, and checks what is said of it and how soon. Ends with 1 when something was not told as it is. */
export async function drill({ host, flags }: Call<DrillFlags>): Promise<number> {
  const chosen = faultsOf(flags.only);
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const stop = new AbortController();
  using _interrupt = host.onInterrupt(() => stop.abort());
  const { tryRedeem } = await import("#client/probe.ts");
  const providers = providersOf(await client.providers.list(), flags.provider);
  const ground: Drill = {
    client,
    wishes: { image: flags.missingImage, memoryBytes: flags.memory },
    patienceMs: flags.patience,
    signal: stop.signal,
    tryRedeem: async (claim) => tryRedeem(console.channel(), claim),
  };
  const perProvider = await Promise.all(
    providers.map(async (provider) => drillProvider(ground, flags, { provider, chosen, console })),
  );
  if (stop.signal.aborted) return exits.cancelled;
  const rows = perProvider.flat();
  const hasFailed = rows.some(({ result }) => result === "fail");
  if (console.isJson) await console.printJson({ ok: !hasFailed, rows, instructions });
  else await printRows(console, rows);
  return hasFailed ? exits.failed : exits.done;
}

function faultsOf(only: readonly string[] | undefined): readonly Fault[] {
  const unknown = only?.find((name) => !faults.some((fault) => fault.name === name));
  if (unknown !== undefined) {
    const names = faults.map(({ name }) => name).join(", ");
    throw new UsageError(`--only: ${JSON.stringify(unknown)} is none of ${names}`);
  }
  return faults.filter(({ name }) => only?.includes(name) ?? true);
}

function providersOf(
  all: readonly Provider[],
  wanted: readonly string[] | undefined,
): readonly Provider[] {
  if (wanted === undefined) return all;
  return wanted.map((name) => {
    const found = all.find((provider) => provider.name === name);
    if (found !== undefined) return found;
    const names = all.map((provider) => provider.name).join(", ");
    throw new UsageError(`--provider: ${JSON.stringify(name)} is none of ${names}`);
  });
}

interface OneProvider {
  readonly provider: Provider;
  readonly chosen: readonly Fault[];
  readonly console: Console;
}

/** First what runs, a few at a time; then what no worker comes of, which the provider may be blamed for. */
async function drillProvider(
  ground: Drill,
  { parallel }: Pick<DrillFlags, "parallel">,
  { provider, chosen, console }: OneProvider,
): Promise<readonly DrillRow[]> {
  const rows = new Map<Fault, DrillRow>();
  for (const phase of ["run", "start"] as const) {
    const left = chosen.filter((fault) => fault.phase === phase);
    const workOff = async (): Promise<void> => {
      for (let fault = left.shift(); fault !== undefined; fault = left.shift()) {
        if (ground.signal.aborted) return;
        try {
          const row = await drillFault(ground, fault, provider);
          rows.set(fault, row);
          if (!console.isJson && console.host.stderr.isTTY === true) {
            await console.note(`hodei: ${row.provider}: ${row.fault}: ${row.result}`);
          }
        } catch (error) {
          if (!ground.signal.aborted) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, parallel) }, workOff));
  }
  return chosen.flatMap((fault) => rows.get(fault) ?? []);
}

async function printRows(console: Console, rows: readonly DrillRow[]): Promise<void> {
  const head = ["RESULT", "PROVIDER", "FAULT", "EXPECTED", "REPORTED", "TOLD AFTER", "WHY"];
  const cells = rows.map((row) => [
    row.result,
    row.provider,
    row.fault,
    row.expected,
    row.reported,
    row.seconds === undefined ? "" : `${row.seconds.toFixed(1)}s`,
    shorten([row.reason, row.message].filter((text) => text !== "").join(": ")),
  ]);
  const [first = "", ...lines] = formatTable(head, cells).split("\n");
  await console.print(first);
  const { green, red, yellow } = console.colors;
  const paint = { pass: green, fail: red, skip: yellow };
  for (const [at, line] of lines.entries()) {
    const result = rows[at]?.result ?? "skip";
    await console.print(paint[result](line.slice(0, result.length)) + line.slice(result.length));
  }
  const count = (result: DrillRow["result"]): number =>
    rows.filter((row) => row.result === result).length;
  await console.print(
    `\n${count("pass")} passed, ${count("fail")} failed, ${count("skip")} not applicable`,
  );
  await console.print("By hand, since no client may do it:");
  for (const line of instructions) await console.print(`  ${line}`);
}

/** What was said in full is in the job, and in `--output json`. */
function shorten(text: string): string {
  return text.length > 100 ? `${text.slice(0, 99)}…` : text;
}

const instructions = [
  "kill -KILL the server while a job runs and start it again: the job goes on, `hodei logs -f` goes on, and no worker is started twice.",
  "Take the network from a worker's node for longer than --disconnect-tolerance: its job ends as worker_lost, or runs again where --retry-lost says so.",
];
