import { HodeiError } from "#error.ts";
import { type CommonFlags, openConsole, write } from "./console.ts";
import { exits, UsageError } from "./exit.ts";
import type { ManifestWish } from "./host.ts";
import type { Call } from "./program.ts";

export type ManifestFlags = ManifestWish & CommonFlags;

/** Prints everything that a control plane in a cluster consists of. */
export async function printManifests({ host, flags }: Call<ManifestFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const { groups, objects, text } = await read(host.readManifests(flags));
  if (console.isJson) await console.printJson({ groups, objects });
  else await write(host.stdout, text);
  return exits.done;
}

async function read<Value>(answer: Promise<Value>): Promise<Value> {
  try {
    return await answer;
  } catch (error) {
    if (!(error instanceof HodeiError) || error.code !== "invalid_argument") throw error;
    const hint = error.hint === undefined ? "" : `; ${error.hint}`;
    throw new UsageError(`${error.message}${hint}`);
  }
}
