import { resolve } from "node:path";
import { HodeiError } from "#error.ts";
import { openConsole } from "./console.ts";
import { exits, UsageError } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatSize } from "./table.ts";

/** Lets the server write everything that it has acknowledged into a new folder on its machine. */
export async function backup({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const written = await client.admin.backup(resolve(args[0] ?? ""));
  const { directory, files, bytes } = written;
  if (console.isJson) await console.printJson(written);
  else await console.print(`${directory}: ${files} files, ${formatSize(bytes)}`);
  return exits.done;
}

/** Fills the empty data directory of a server that does not run. */
export async function restore({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  const restored = await usage(host.restore(resolve(args[0] ?? "")));
  const { directory, files, createdAt } = restored;
  if (console.isJson) await console.printJson(restored);
  else await console.print(`${directory}: ${files} files of ${createdAt}`);
  return exits.done;
}

export interface CopyFlags {
  readonly from: string;
  readonly to: string;
}

/** Copies the jobs of one store into another, which is empty. No server may run on either. */
export async function copyStore({ host, flags }: Call<CopyFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const { from, to } = flags;
  const counts = await usage(host.copyStore({ from, to }));
  if (console.isJson) await console.printJson(counts);
  else {
    const told = Object.entries(counts).map(([kind, count]) => `${count} ${kind}`);
    await console.print(`copied ${told.join(", ")}`);
  }
  return exits.done;
}

/** What the user can set right ends like a wrong command line. */
async function usage<Value>(answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof HodeiError)) throw error;
    const hint = error.hint === undefined ? "" : `; ${error.hint}`;
    throw new UsageError(`${error.message}${hint}`);
  }
}
