import { accessSync, constants } from "node:fs";

/**
 * A shell in the place of init: it takes in what others left behind, since Node waits for its own children only, and passes signals on. `wait` ends early
 * at a signal that has a trap, so that it is called again; once it has told the agent's own end, it answers 127. Standard input is the
 * agent's, although a shell gives none to what runs beside it.
 */
export const initScript = `
child=
early=
signalled=
pass() {
  signalled=1
  if [ -n "$child" ]; then kill -"$1" "$child" 2>/dev/null; else early=$1; fi
}
trap 'pass TERM' TERM
trap 'pass INT' INT
exec 9<&0 </dev/null
"$@" <&9 9<&- &
child=$!
exec 9<&-
[ -z "$early" ] || pass "$early"
code=127
while :; do
  signalled=
  wait "$child"
  last=$?
  [ "$last" = 127 ] && break
  code=$last
  [ -n "$signalled" ] || break
done
exit "$code"
`;

/**
 * The first process of a container has to reap every orphan in it, or they stay as zombies until there are no process numbers left. Where the agent would
 * be that process, a shell takes its place and starts it again; anywhere else, and where there is no shell, nothing happens.
 */
export function startUnderInit(): void {
  const shell = "/bin/sh";
  if (process.pid !== 1 || process.execve === undefined) return;
  try {
    accessSync(shell, constants.X_OK);
  } catch {
    return;
  }
  const [, ...args] = process.argv;
  const command = [process.execPath, ...process.execArgv, ...args];
  process.execve(shell, [shell, "-c", initScript, "hodei-init", ...command]);
}
