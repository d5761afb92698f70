import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { Call } from "./program.ts";
import { type SpecFlags, specOf } from "./spec-flags.ts";

export async function submit({ host, flags, args }: Call<SpecFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const spec = await specOf(flags, args, host);
  await using client = await console.connect();
  const { idempotencyKey, tenant } = flags;
  const job = await client.submit(spec, { idempotencyKey, tenant });
  if (console.isJson) await console.printJson(job);
  else await console.print(job.id);
  return exits.done;
}
