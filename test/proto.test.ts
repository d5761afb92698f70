import { execFileSync } from "node:child_process";
import { globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";

const root = join(import.meta.dirname, "..");

test("the generated codecs are those of the contract (`npm run proto:generate` writes them)", () => {
  const fresh = mkdtempSync(join(tmpdir(), "hodei-proto-"));
  onTestFinished(() => rmSync(fresh, { recursive: true }));
  const bin = join(root, "node_modules/.bin");
  execFileSync(join(bin, "buf"), ["generate", "--output", fresh], {
    cwd: root,
    env: { ...process.env, PATH: `${bin}:${process.env["PATH"]}` },
  });
  const written = globSync("src/rpc/gen/**/*.ts", { cwd: fresh }).toSorted();
  expect(written.length).toBeGreaterThan(5);
  expect(globSync("src/rpc/gen/**/*.ts", { cwd: root }).toSorted()).toEqual(written);
  for (const file of written) {
    expect(readFileSync(join(root, file), "utf8")).toBe(readFileSync(join(fresh, file), "utf8"));
  }
});
