import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatFields, formatTable } from "./table.ts";

export async function listProviders({ host, flags }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const providers = await client.providers.list();
  if (console.isJson) {
    await console.printJson(providers);
    return exits.done;
  }
  const head = ["PROVIDER", "TYPE", "HEALTH", "WORKERS", "MOST", "CAPABILITIES", "REASON"];
  const rows = providers.map(
    ({ name, type, health, workers, maxWorkers, capabilities, reason }) => [
      name,
      type,
      health,
      String(workers),
      String(maxWorkers),
      capabilities.join(" "),
      reason,
    ],
  );
  await console.print(formatTable(head, rows));
  return exits.done;
}

export async function getProvider({ host, flags, args }: Call): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const provider = await client.providers.get(args[0] ?? "");
  if (console.isJson) await console.printJson(provider);
  else {
    const { capabilities, maxWorkers, ...rest } = provider;
    const more = { "most workers": maxWorkers, capabilities: capabilities.join(" ") };
    await console.print(formatFields({ ...rest, ...more }));
  }
  return exits.done;
}
