import { readFileSync } from "node:fs";
import { join } from "node:path";
import { format } from "prettier";
import { expect, test } from "vitest";
import { moves } from "#job/state.ts";
import { withConfiguration } from "../scripts/docs.ts";

const root = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

test("the README's configuration table is that of the schema (`npm run docs` writes it)", async () => {
  const readme = read("README.md");
  const wanted = await format(withConfiguration(readme), { parser: "markdown", printWidth: 100 });
  expect(readme).toBe(wanted);
});

test("the README names every variable that the agent reads", () => {
  const names = new Set(read("src/agent/settings.ts").match(/HODEI_[A-Z_]+/g));
  // The pipe is between our provider and its agent.
  names.delete("HODEI_OTP_FD");
  expect(names.size).toBeGreaterThan(5);
  expect([...names].filter((name) => !read("README.md").includes(`\`${name}\``))).toEqual([]);
});

test("the picture in ARCHITECTURE.md has exactly the moves of the state table", () => {
  const drawn = read("docs/ARCHITECTURE.md").match(/^ {2}\w+ --> \w+: \w+$/gm) ?? [];
  const wanted = Object.entries(moves).flatMap(([move, { from, to }]) =>
    from.map((state) => `  ${state} --> ${to}: ${move}`),
  );
  expect(drawn.toSorted()).toEqual(wanted.toSorted());
});

test("ARCHITECTURE.md fits on a few pages", () => {
  expect(read("docs/ARCHITECTURE.md").split("\n").length).toBeLessThanOrEqual(150);
});
