import { join } from "node:path";
import { build } from "esbuild";

/** Makes the agent as it is published: one file that needs no node_modules, small because every worker reads it before it does anything. */
export async function bundleAgent(outfile: string): Promise<void> {
  await build({
    absWorkingDir: join(import.meta.dirname, ".."),
    entryPoints: ["src/agent/main.ts"],
    outfile,
    bundle: true,
    minify: true,
    legalComments: "none",
    format: "esm",
    platform: "node",
    target: "node24",
    // What only servers that show their channels load, when they are asked to; a quarter of the file.
    external: ["@grpc/proto-loader"],
    // Bundled CommonJS calls require(), which an ES module does not have.
    banner: {
      js: `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`,
    },
  });
}
