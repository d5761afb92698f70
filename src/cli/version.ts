import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";

export async function printVersion({ host, flags }: Call): Promise<number> {
  const console = openConsole(host, flags);
  if (console.isJson) await console.printJson({ version: host.version, node: process.version });
  else await console.print(host.version);
  return exits.done;
}
