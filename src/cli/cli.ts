import { CommanderError } from "commander";
import { describeError } from "./console.ts";
import { exitOfError, exits } from "./exit.ts";
import type { Host } from "./host.ts";
import { createProgram } from "./program.ts";

/** Runs the command line and gives the exit code; never throws. */
export async function runCli(host: Host): Promise<number> {
  let code: number = exits.done;
  const program = createProgram(host, (exit) => {
    code = exit;
  });
  try {
    await program.parseAsync(host.argv, { from: "user" });
    return code;
  } catch (error) {
    // Commander has printed its own complaints and helps.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exits.done : exits.usage;
    if (isClosedPipe(error)) return exits.done;
    const isJson = wantsJson(host.argv);
    const exit = exitOfError(error);
    host.stderr.write(`${describeError(error, isJson)}\n`);
    if (exit === exits.unreachable && !isJson) host.stderr.write(unreachableHint);
    return exit;
  }
}

const unreachableHint =
  "hodei: is `hodei server` running there? --server or HODEI_SERVER names another; `hodei run --local` needs none\n";

/** The reader of our output has gone, as `head` does; that is no failure. */
function isClosedPipe(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EPIPE";
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  const flags = argv.slice(0, end === -1 ? argv.length : end);
  return flags.some(
    (word, at) =>
      word === "--output=json" || (/^(-o|--output)$/.test(word) && flags[at + 1] === "json"),
  );
}
