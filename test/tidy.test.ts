import { spawnSync } from "node:child_process";
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";

// A linter that sees nothing is green, so each rule that we lean on is shown a planted offence.

const root = join(import.meta.dirname, "..");

/** A file that must be refused by a rule, or, without a rule, must not be. */
interface Plant {
  readonly file: string;
  readonly text: string;
  readonly rule?: string;
}

const border = "no-restricted-imports";
const importing = (name: string) => `import "${name}";\n`;
const plant = (file: string, text: string, rule = "") => ({ file, text, rule });

const refused: Plant[] = [
  plant("src/job/a.ts", importing("#worker/worker.ts"), border),
  plant("src/job/b.ts", importing("#store/store.ts"), border),
  plant("src/job/c.ts", importing("#server.ts"), border),
  plant("src/job/d.ts", importing("node:fs"), border),
  plant("src/worker/a.ts", importing("#store/store.ts"), border),
  plant("src/tenant/a.ts", importing("#worker/worker.ts"), border),
  plant("src/log/a.ts", importing("#logstore/logstore.ts"), border),
  plant("src/store/a.ts", importing("#store/sqlite/open.ts"), border),
  plant("src/store/b.ts", importing("./sqlite/open.ts"), border),
  plant("src/store/sqlite/a.ts", importing("#store/memory/open.ts"), border),
  plant("src/store/sqlite/b.ts", importing("../store.ts"), border),
  plant("src/store/sqlite/c.ts", importing("ioredis"), border),
  plant("src/store/memory/a.ts", importing("node:sqlite"), border),
  plant("src/logstore/files/a.ts", importing("#store/store.ts"), border),
  plant("src/logstore/files/b.ts", importing("node:child_process"), border),
  plant("src/logstore/files/c.ts", importing("@aws-sdk/client-s3"), border),
  plant("src/provider/process/a.ts", importing("#scheduler/place.ts"), border),
  plant("src/provider/process/b.ts", importing("@grpc/grpc-js"), border),
  plant("src/provider/docker/a.ts", importing("@kubernetes/client-node"), border),
  plant("src/provider/process/c.ts", importing("dockerode"), border),
  plant("src/scheduler/a.ts", importing("#store/sqlite/open.ts"), border),
  plant("src/scheduler/b.ts", importing("#api/status.ts"), border),
  plant("src/rpc/a.ts", importing("#store/store.ts"), border),
  plant("src/api/a.ts", importing("#provider/process/open.ts"), border),
  plant("src/api/b.ts", importing("#logstore/files/open.ts"), border),
  plant("src/agent/a.ts", importing("#worker/worker.ts"), border),
  plant("src/client/a.ts", importing("#agent/run.ts"), border),
  plant("src/cli/a.ts", importing("#server.ts"), border),
  plant("src/cli/b.ts", importing("#store/store.ts"), border),
  plant("src/unheard-of/a.ts", importing("#job/job.ts"), border),
  plant("src/unheard-of.ts", importing("#job/job.ts"), border),
  plant("src/every.ts", importing("#job/job.ts"), border),
  plant("src/config.ts", importing("#store/sqlite/open.ts"), border),
  plant("src/server.ts", importing("@grpc/grpc-js"), border),
  plant("src/api/env1.ts", "export const home = process.env;\n", "no-restricted-properties"),
  plant("src/api/env2.ts", `export const home = process["env"];\n`, "no-restricted-properties"),
  plant("src/api/env3.ts", "export const { env } = process;\n", "no-restricted-properties"),
  plant("src/api/env4.ts", `export { env } from "node:process";\n`, border),
  plant("src/api/timer.ts", "setInterval(() => 1, 10);\n", "no-restricted-globals"),
  plant("src/api/default.ts", "export default 1;\n", "no-default-export"),
  plant("src/api/any.ts", "export const a: any = 1;\n", "no-explicit-any"),
  plant(
    "src/api/params.ts",
    "export const f = (a = 1, b = 1, c = 1, d = 1) => a + b + c + d;\n",
    "max-params",
  ),
  plant("src/api/long.ts", "void 0;\n".repeat(301), "max-lines"),
  plant("src/api/todo.ts", "// todo: later\nexport const a = 1;\n", "no-warning-comments"),
  plant("src/api/types.ts", "export const a: string = 1;\n", "TS2322"),
  plant(
    "src/api/null.ts",
    "export const f = (a?: string) => a!.length;\n",
    "no-non-null-assertion",
  ),
  plant(
    "src/api/float.ts",
    "export const f = () => { Promise.resolve(1); };\n",
    "no-floating-promises",
  ),
  plant(
    "src/api/misuse.ts",
    "export const f = (a: number[]) => a.forEach(async () => { await 1; });\n",
    "no-misused-promises",
  ),
  plant("src/api/thenable.ts", "export const f = async () => { await 1; };\n", "await-thenable"),
  plant("src/api/throw.ts", `export const f = () => { throw "text"; };\n`, "only-throw-error"),
  plant(
    "src/api/switch.ts",
    `export const f = (a: "x" | "y") => { switch (a) { case "x": return 1; } return 2; };\n`,
    "switch-exhaustiveness-check",
  ),
  plant(
    "test/focus.test.ts",
    `import { test } from "vitest";\ntest.only("a", () => {});\n`,
    "no-focused-tests",
  ),
  plant(
    "test/skip.test.ts",
    `import { test } from "vitest";\ntest.skip("a", () => {});\n`,
    "no-disabled-tests",
  ),
];
const accepted: Plant[] = [
  plant("src/worker/ok.ts", importing("#job/job.ts")),
  plant("src/store/ok.ts", importing("#job/job.ts")),
  plant("src/store/sqlite/ok.ts", importing("#store/store.ts") + importing("node:sqlite")),
  plant("src/store/redis/ok.ts", importing("#store/store.ts") + importing("ioredis")),
  plant(
    "src/logstore/s3/ok.ts",
    importing("#logstore/object-store.ts") + importing("@aws-sdk/client-s3"),
  ),
  plant("src/provider/docker/ok.ts", importing("dockerode")),
  plant("src/scheduler/ok.ts", importing("#provider/provider.ts") + importing("#error.ts")),
  plant("src/api/ok.ts", importing("#scheduler/place.ts") + importing("@grpc/grpc-js")),
  plant("src/client/ok.ts", importing("#rpc/client.ts") + importing("@grpc/grpc-js")),
  plant("src/cli/ok.ts", importing("#client/client.ts") + importing("#config.ts")),
  plant("src/main.ts", importing("#store/sqlite/open.ts") + "export const e = process.env;\n"),
  plant("test/ok.ts", importing("#store/sqlite/open.ts")),
];

const Report = z.object({
  diagnostics: z.array(z.object({ filename: z.string(), code: z.string().optional() })),
});

const Lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      version: z.string().optional(),
      optionalDependencies: z.record(z.string(), z.string()).optional(),
    }),
  ),
});

describe("the linter", () => {
  const project = mkdtempSync(join(tmpdir(), "hodei-tidy-"));
  afterAll(() => rmSync(project, { recursive: true, force: true }));
  const found = lintPlants(project);

  test.for(refused)("refuses $file: $rule", ({ file, rule }) => {
    expect((found.get(file) ?? []).join(" ")).toContain(rule);
  });

  test.for(accepted)("accepts $file", ({ file }) => {
    expect((found.get(file) ?? []).filter((code) => code.includes("no-restricted"))).toEqual([]);
  });
});

test("source files have at most 300 lines", () => {
  const long = globSync("src/**/*.ts", { cwd: root }).filter(
    (file) => !isGenerated(file) && lineCount(file) > 300,
  );
  expect(long).toEqual([]);
});

test("no file switches a rule off or a type check away", () => {
  const pattern = /(ox|es)lint-(disable|enable)|@ts-(ignore|nocheck|expect-error)|as unknown as/;
  const switched = globSync(["{src,test,bench,scripts}/**/*.ts", "*.ts"], { cwd: root }).filter(
    (file) =>
      file !== "test/tidy.test.ts" &&
      !isGenerated(file) &&
      pattern.test(readFileSync(join(root, file), "utf8")),
  );
  expect(switched).toEqual([]);
});

describe("the lockfile", () => {
  const text = readFileSync(join(root, "package-lock.json"), "utf8");
  const { packages } = Lockfile.parse(JSON.parse(text));

  test("names no registry", () => {
    expect(text).not.toContain('"resolved"');
    expect(text).not.toMatch(/https?:\/\/[^"]*\.tgz/);
  });

  test("describes the packages of every platform (else: npm run lock)", () => {
    const wanted = Object.values(packages).flatMap(({ optionalDependencies }) =>
      Object.keys(optionalDependencies ?? {}),
    );
    expect(
      wanted.filter((name) => packages[`node_modules/${name}`]?.version === undefined),
    ).toEqual([]);
  });
});

/** Blank lines are free, as they are for the linter. */
function lineCount(file: string): number {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  return lines.filter((line) => line.trim() !== "").length;
}

function isGenerated(file: string): boolean {
  return file.startsWith("src/rpc/gen/");
}

/** Lints a copy of the project that holds the plants alone, so that nothing ever lands in src/. */
function lintPlants(project: string): Map<string, string[]> {
  for (const file of ["package.json", "tsconfig.json", "oxlint.config.ts"]) {
    cpSync(join(root, file), join(project, file));
  }
  symlinkSync(join(root, "node_modules"), join(project, "node_modules"));
  for (const { file, text } of [...refused, ...accepted]) {
    mkdirSync(dirname(join(project, file)), { recursive: true });
    writeFileSync(join(project, file), text);
  }
  const oxlint = join(root, "node_modules/.bin/oxlint");
  const run = spawnSync(oxlint, ["--format", "json"], { cwd: project, encoding: "utf8" });
  const found = new Map<string, string[]>();
  for (const { filename, code } of Report.parse(JSON.parse(run.stdout)).diagnostics) {
    found.set(filename, [...(found.get(filename) ?? []), code ?? ""]);
  }
  return found;
}
