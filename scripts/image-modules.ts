// Copies what the server needs of node_modules to a folder, as package-lock.json has it: no development, no optional packages, no types, no maps. With --check it only says whether all is there.
import { cpSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface Entry {
  readonly version?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly devOptional?: boolean;
}

const root = join(import.meta.dirname, "..");
const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
  packages: Record<string, Entry>;
};
const needed = Object.entries(packages).filter(
  ([path, { dev, optional, devOptional }]) =>
    path !== "" && !dev && !optional && !devOptional && !isTypes(path),
);
const missing = needed.filter(([path, { version }]) => versionAt(path) !== version);
if (missing.length > 0) {
  console.error(`not in node_modules: ${missing.map(([path]) => path).join(", ")}`);
  process.exit(1);
}

const target = process.argv[2] ?? "";
if (target !== "--check") {
  for (const [path] of needed) {
    // A package inside of another has a row of its own.
    const inside = join(root, path, "node_modules");
    cpSync(join(root, path), join(target, path), {
      recursive: true,
      filter: (source) => source !== inside && !/\.(map|[cm]?ts|md)$/.test(source),
    });
  }
}

function isTypes(path: string): boolean {
  return path.includes("node_modules/@types/") || path.endsWith("undici-types");
}

function versionAt(path: string): string | undefined {
  const file = join(root, path, "package.json");
  if (!existsSync(file)) return undefined;
  return (JSON.parse(readFileSync(file, "utf8")) as Entry).version;
}
