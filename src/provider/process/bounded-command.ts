import { accessSync, constants } from "node:fs";

const shell = "/bin/sh";
/** A bound that is refused is stricter already; the command runs all the same, in the same process. */
const script = 'ulimit -d "$0" 2>/dev/null; exec "$@"';

/** The command under a bound on the data of each of its processes; as it is where there is nothing to bound, no shell or no such program. */
export function boundedCommand(command: readonly string[], dataBytes: number): readonly string[] {
  if (dataBytes === 0) return command;
  try {
    accessSync(shell, constants.X_OK);
    accessSync(command[0] ?? "", constants.X_OK);
  } catch {
    return command;
  }
  return [shell, "-c", script, String(Math.ceil(dataBytes / 1024)), ...command];
}
