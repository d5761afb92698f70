import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";
import { formatTable, formatTime } from "./table.ts";
import { take } from "./take.ts";

interface ListFlags {
  readonly actor?: string;
  readonly target?: string;
  readonly correlationId?: string;
  readonly limit: number;
}

export async function listAudit({ host, flags }: Call<ListFlags>): Promise<number> {
  const console = openConsole(host, flags);
  await using client = await console.connect();
  const { actor, target, correlationId } = flags;
  const entries = await take(client.audit.list({ actor, target, correlationId }), flags.limit);
  if (console.isJson) {
    await console.printJson(entries);
    return exits.done;
  }
  const head = ["AT", "ACTOR", "TENANT", "ACTION", "TARGET", "OUTCOME", "FROM", "CORRELATION"];
  const rows = entries.map((entry) => [
    formatTime(entry.at),
    entry.actor,
    entry.tenant,
    entry.action,
    entry.target,
    entry.outcome,
    entry.peer,
    entry.correlationId,
  ]);
  await console.print(formatTable(head, rows));
  return exits.done;
}
