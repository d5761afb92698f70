import type { Worker, WorkerState } from "#client/client.ts";
import { type Console, openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatCost, formatDuration, formatFields, formatTable } from "./table.ts";
import { take } from "./take.ts";

interface ListFlags {
  readonly state?: readonly WorkerState[];
  readonly provider?: string;
  readonly limit: number;
}

export async function listWorkers({ host, flags }: Call<ListFlags>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const { state: states, provider } = flags;
  const workers = await take(client.workers.list({ states, provider }), flags.limit);
  if (console.isJson) {
    await console.printJson(workers);
    return exits.done;
  }
  const now = Date.now();
  const head = ["WORKER", "STATE", "PROVIDER", "AGE", "CONNECTED", "JOBS", "CLASS", "REASON"];
  const rows = workers.map((worker) => [
    worker.id,
    worker.state,
    worker.provider,
    worker.plannedAt === undefined ? "" : formatDuration(now - worker.plannedAt.getTime()),
    worker.isConnected ? "yes" : "no",
    worker.jobIds.join(" "),
    worker.workerClass,
    worker.reason,
  ]);
  await console.print(formatTable(head, rows));
  return exits.done;
}

export async function getWorker({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const worker = await client.workers.get(args[0] ?? "");
  if (console.isJson) await console.printJson(worker);
  else await console.print(describe(worker));
  return exits.done;
}

export async function drainWorkers({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const id of args) await show(await client.workers.drain(id), console);
  return exits.done;
}

export async function terminateWorkers({
  host,
  flags,
  args,
}: Call<{ readonly reason?: string }>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  for (const id of args) {
    await show(await client.workers.terminate(id, { reason: flags.reason }), console);
  }
  return exits.done;
}

async function show(worker: Worker, console: Console): Promise<void> {
  if (console.isJson) await console.printJson(worker);
  else await console.print(`${worker.id} ${worker.state}`);
}

function describe(worker: Worker): string {
  return formatFields({
    worker: worker.id,
    state: worker.state,
    provider: worker.provider,
    resource: worker.resource,
    class: worker.workerClass,
    tenant: worker.tenant,
    hostname: worker.hostname,
    connected: worker.isConnected ? "yes" : "no",
    jobs: worker.jobIds.join(" "),
    attempts: worker.attempts,
    "price per hour": formatCost(worker.pricePerHour),
    planned: worker.plannedAt,
    ready: worker.readyAt,
    ended: worker.endedAt,
    reason: worker.reason,
  });
}
