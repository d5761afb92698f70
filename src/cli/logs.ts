import type { LogStream } from "#client/client.ts";
import { openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import { createLogPrinter } from "./log-printer.ts";
import type { Call } from "./program.ts";

interface LogsFlags {
  readonly follow?: boolean;
  readonly tail?: number;
  readonly stream?: LogStream;
  readonly attempt?: number;
  readonly timestamps?: boolean;
  readonly raw?: boolean;
}

export async function showLogs({ host, flags, args }: Call<LogsFlags>): Promise<number> {
  const console = openConsole(host, flags);
  const { follow, tail, stream, attempt, timestamps, raw } = flags;
  const print = createLogPrinter(console, { raw, timestamps, hasSystem: true });
  const stop = new AbortController();
  using _interrupt = host.onInterrupt(() => stop.abort());
  await using client = await console.connect();
  const options = { follow, tail, stream, attempt, signal: stop.signal };
  for await (const record of client.logs(args[0] ?? "", options)) await print(record);
  return exits.done;
}
