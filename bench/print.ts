import type { Result } from "./harness.ts";

/** Prints the results as a table that Markdown understands too. */
export function printResults(results: readonly Result[]): void {
  const head = [
    "benchmark",
    "median",
    "unit",
    "min – max",
    "ratio to",
    "target",
    "reached",
    "more",
  ];
  const rows = [head, head.map(() => "---"), ...results.map(rowOf)];
  const widths = head.map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  for (const row of rows) {
    const cells = row.map((cell, column) => cell.padEnd(column === 7 ? 0 : (widths[column] ?? 0)));
    console.log(`| ${cells.join(" | ")} |`);
  }
  console.log();
}

function rowOf(result: Result): string[] {
  const more = Object.entries(result.more ?? {}).map(([name, value]) => `${name} ${short(value)}`);
  return [
    `${result.bench}/${result.case}`,
    result.value === undefined ? "-" : short(result.value),
    result.unit,
    result.min === undefined || result.max === undefined
      ? ""
      : `${short(result.min)} – ${short(result.max)}`,
    result.ratio === undefined ? "" : `${short(result.ratio)}× ${result.against ?? ""}`,
    result.target ?? "",
    result.reached === undefined ? "" : result.reached ? "yes" : "NO",
    [...more, ...(result.note === undefined ? [] : [result.note])].join(", "),
  ];
}

/** Three digits that say something. */
function short(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const digits =
    Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}
