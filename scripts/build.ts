// Builds dist/: src/ file by file (so that import.meta.url means the same as in source), its
// types, and the agent as one bundle that needs no node_modules.
import { execFileSync } from "node:child_process";
import { globSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { build } from "esbuild";
import { bundleAgent } from "./agent-bundle.ts";

const root = join(import.meta.dirname, "..");
const dist = join(root, "dist");
const shared = { format: "esm", platform: "node", target: "node24", absWorkingDir: root } as const;

rmSync(dist, { recursive: true, force: true });
await build({ ...shared, entryPoints: globSync("src/**/*.ts", { cwd: root }), outdir: "dist" });
// Images need no types.
if (!process.argv.includes("--no-types")) {
  execFileSync(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.build.json"], {
    cwd: root,
    stdio: "inherit",
  });
}
for (const file of globSync("**/*.{js,d.ts}", { cwd: dist })) pointAtBuiltFiles(join(dist, file));

await bundleAgent(join(dist, "agent.js"));

/** Rewrites `"#job/job.ts"` and `"./job.ts"` to the relative path of the built file. */
function pointAtBuiltFiles(file: string): void {
  const top = relative(dirname(file), dist) || ".";
  const here = top.startsWith(".") ? top : `./${top}`;
  const text = readFileSync(file, "utf8")
    .replaceAll(/((?:from|import|import\(|new URL\() ?")#([^"]+)\.ts"/g, `$1${here}/$2.js"`)
    .replaceAll(/((?:from|import|import\(|new URL\() ?"\.{1,2}\/[^"]+)\.ts"/g, `$1.js"`);
  writeFileSync(file, text);
}
