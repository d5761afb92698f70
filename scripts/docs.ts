// Writes the README's configuration table from the schema in src/config.ts.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { configTable } from "../src/config.ts";

const file = join(import.meta.dirname, "../README.md");

/** The README as it has to be. */
export function withConfiguration(readme: string): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|");
  const rows = configTable().map(
    (row) =>
      `| \`${row.name}\` | ${row.default === "" ? "" : `\`${cell(row.default)}\``} | ${cell(row.description)} |`,
  );
  const table = ["| variable | default | what it does |", "| --- | --- | --- |", ...rows].join(
    "\n",
  );
  return readme.replace(
    /(<!-- configuration:begin -->)[\s\S]*(<!-- configuration:end -->)/,
    (_, begin: string, end: string) => `${begin}\n\n${table}\n\n${end}`,
  );
}

if (import.meta.main) {
  const readme = withConfiguration(readFileSync(file, "utf8"));
  writeFileSync(file, await format(readme, { parser: "markdown", printWidth: 100 }));
}
