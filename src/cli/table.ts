import type { Job, JobState } from "#client/client.ts";
import { escapeLine } from "./escape.ts";
import type { Colors } from "./console.ts";

/** Rows under a head, in columns that are as wide as their widest cell; cells are escaped. */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head, ...rows.map((row) => row.map((cell) => escapeLine(cell) || "-"))];
  const widths = head.map((_, at) => Math.max(...all.map((row) => row[at]?.length ?? 0)));
  return all
    .map((row) =>
      row
        .map((cell, at) => cell.padEnd(widths[at] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Names and values, one pair a line; what is undefined or empty is left out. */
export function formatFields(fields: Readonly<Record<string, unknown>>): string {
  const shown = Object.entries(fields).filter(([, value]) => value !== undefined && value !== "");
  const width = Math.max(...shown.map(([name]) => name.length)) + 1;
  return shown
    .map(([name, value]) => `${`${name}:`.padEnd(width)} ${formatValue(value)}`)
    .join("\n");
}

export function formatTime(time: Date | undefined): string {
  return time === undefined ? "" : time.toISOString();
}

/** `3.2s`, `4m10s`, `2h5m`, `3d4h`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.floor(seconds)}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}m${Math.floor(seconds % 60)}s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours}h${minutes % 60}m` : `${Math.floor(hours / 24)}d${hours % 24}h`;
}

export function formatSize(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const step = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
  return `${step === 0 ? bytes : (bytes / 1024 ** step).toFixed(1)} ${units[step]}`;
}

/** An amount of money, to four digits. */
export function formatCost(cost: number): string {
  return String(Number(cost.toPrecision(4)));
}

export function paintState(state: JobState, colors: Colors): string {
  switch (state) {
    case "succeeded":
      return colors.green(state);
    case "failed":
    case "timed_out":
      return colors.red(state);
    case "cancelled":
    case "cancelling":
      return colors.yellow(state);
    case "queued":
    case "starting":
    case "running":
      return colors.cyan(state);
  }
}

/** What people call a job: its name, else the beginning of what it runs. */
export function titleOf({ spec }: Job): string {
  if (spec === undefined) return "";
  const title = spec.name || spec.command.join(" ") || (spec.script ? "(script)" : "");
  return title.length > 40 ? `${title.slice(0, 39)}…` : title;
}

function formatValue(value: unknown): string {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "string") return escapeLine(value);
  return escapeLine(JSON.stringify(value));
}
