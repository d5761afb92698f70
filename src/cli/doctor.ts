import { type Colors, type Console, openConsole } from "./console.ts";
import { exits } from "./exit.ts";
import type { HealthCheck } from "./host.ts";
import type { Call } from "./program.ts";
import { formatTable } from "./table.ts";

/** Says what would keep a server with these settings from running jobs. Ends with 69 when the cluster does not answer. */
export async function diagnose({ host, flags }: Call): Promise<number> {
  const console = openConsole(host, flags);
  const { checks, isReachable } = await host.diagnose();
  const hasFailed = checks.some(({ ok }) => ok === "fail");
  if (console.isJson) await console.printJson({ ok: !hasFailed, checks });
  else await printChecks(console, checks);
  if (!isReachable) return exits.unreachable;
  return hasFailed ? exits.failed : exits.done;
}

async function printChecks(console: Console, checks: readonly HealthCheck[]): Promise<void> {
  const rows = checks.map(({ ok, name, message }) => [ok, name, message]);
  const [head = "", ...lines] = formatTable(["RESULT", "CHECK", "WHAT"], rows).split("\n");
  await console.print(head);
  for (const [at, line] of lines.entries()) {
    const { ok = "pass", hint = "" } = checks[at] ?? {};
    await console.print(paint(ok, line, console.colors));
    if (ok !== "pass" && hint !== "") {
      await console.print(formatTable([`        hint: ${hint}`], []));
    }
  }
}

function paint(ok: HealthCheck["ok"], line: string, colors: Colors): string {
  switch (ok) {
    case "pass":
      return colors.green(line.slice(0, ok.length)) + line.slice(ok.length);
    case "warn":
      return colors.yellow(line.slice(0, ok.length)) + line.slice(ok.length);
    case "fail":
      return colors.red(line.slice(0, ok.length)) + line.slice(ok.length);
  }
}
