/** What the agent says of itself: JSON lines on standard error. A logging package would double its start. */
export interface AgentLog {
  readonly debug: LogLine;
  readonly info: LogLine;
  readonly warn: LogLine;
  readonly error: LogLine;
}

export type LogLine = (fields: Readonly<Record<string, unknown>>, message: string) => void;

const levels = ["debug", "info", "warn", "error"] as const;

/** Lines below `level` are dropped; an unknown level counts as `info`. */
export function createAgentLog(
  level: string | undefined,
  write: (line: string) => void = (line) => void process.stderr.write(line),
): AgentLog {
  const known = level === "trace" ? 0 : levels.findIndex((name) => name === level);
  const silent = level === "silent" || level === "fatal" ? levels.length : undefined;
  const lowest = silent ?? (known === -1 ? 1 : known);
  const line = (name: (typeof levels)[number]): LogLine => {
    if (levels.indexOf(name) < lowest) return () => undefined;
    return (fields, message) => {
      write(`${JSON.stringify({ level: name, time: new Date(), ...fields, msg: message })}\n`);
    };
  };
  return { debug: line("debug"), info: line("info"), warn: line("warn"), error: line("error") };
}
