// npm leaves a platform's package out of the lockfile when the registry at hand cannot describe
// it, and `npm ci` then refuses the lockfile everywhere. Their versions are pinned by the package
// that asks for them, so the missing entries can be written down without a registry.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Entry {
  version?: string;
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  cpu?: string[];
  libc?: string[];
  optionalDependencies?: Record<string, string>;
}

const file = join(import.meta.dirname, "../package-lock.json");
const lock = JSON.parse(readFileSync(file, "utf8")) as { packages: Record<string, Entry> };

for (const [owner, entry] of Object.entries(lock.packages)) {
  if (owner === "") continue;
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    const found =
      lock.packages[`node_modules/${name}`] ?? lock.packages[`${owner}/node_modules/${name}`];
    if (found === undefined && /^\d/.test(version)) {
      lock.packages[`node_modules/${name}`] = platformEntry(name, version, entry.dev ?? false);
    }
  }
}

const sorted = Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1));
writeFileSync(
  file,
  JSON.stringify({ ...lock, packages: Object.fromEntries(sorted) }, null, 2) + "\n",
);

/** `@oxlint/binding-linux-x64-musl` says for which machines it is. */
function platformEntry(name: string, version: string, dev: boolean): Entry {
  const words = name.replace(/^@[^/]*\//, "").split("-");
  const systems = ["darwin", "linux", "win32", "android", "freebsd", "openharmony"];
  const os = words.includes("windows") ? "win32" : words.find((word) => systems.includes(word));
  const known = ["x64", "arm64", "arm", "ia32", "ppc64", "riscv64", "s390x", "armv7", "loong64"];
  const cpu = words.find((word) => known.includes(word));
  if (os === undefined || cpu === undefined) {
    throw new Error(`${name} names no platform; add it to the lockfile with a full registry`);
  }
  const libc = words.some((word) => word.startsWith("musl")) ? { libc: ["musl"] } : {};
  return { version, cpu: [cpu === "armv7" ? "arm" : cpu], dev, ...libc, optional: true, os: [os] };
}
