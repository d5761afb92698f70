import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import { describeExplanation } from "./jobs.ts";
import type { Call } from "./program.ts";
import { type SpecFlags, specOf } from "./spec-flags.ts";

type SubmitFlags = SpecFlags & { readonly dryRun?: boolean };

export async function submit({ host, flags, args }: Call<SubmitFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const spec = await specOf(flags, args, host);
  await using client = await console.connect();
  const { idempotencyKey, tenant } = flags;
  if (flags.dryRun === true) {
    const explanation = await client.explainSpec(spec, { tenant });
    if (console.isJson) await console.printJson(explanation);
    else await console.print(describeExplanation(explanation));
    return exits.done;
  }
  const job = await client.submit(spec, { idempotencyKey, tenant });
  if (console.isJson) await console.printJson(job);
  else await console.print(job.id);
  return exits.done;
}
