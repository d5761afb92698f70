import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

// What the images are, as far as it can be read; building them needs an engine.

const root = join(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");
const worker = read("Dockerfile.worker");
const server = read("Dockerfile.server");

/** The last stage: what is shipped. */
const shipped = (text: string): string => text.slice(text.lastIndexOf("\nFROM "));

describe.for([
  ["worker", worker],
  ["server", server],
] as const)("the %s image", ([, text]) => {
  test("builds from one base that can be chosen, in stages", () => {
    expect(text).toMatch(/^ARG BASE_IMAGE=debian:stable-slim$/m);
    const bases = [...text.matchAll(/^FROM (\S+)/gm)].map(([, base]) => base);
    expect(bases.length).toBeGreaterThan(1);
    // Also where nothing else can be pulled.
    expect(new Set(bases)).toEqual(new Set(["${BASE_IMAGE}"]));
  });

  test("runs as user and group 1000, by number so that a cluster can tell that it is not root", () => {
    expect(shipped(text)).toContain("groupadd -g 1000 hodei && useradd -u 1000 -g 1000");
    expect(shipped(text)).toMatch(/^USER 1000:1000$/m);
  });

  test("has an init as its first process, and carries no package lists", () => {
    expect(shipped(text)).toMatch(/\btini\b/);
    expect(shipped(text)).toContain("rm -rf /var/lib/apt/lists/*");
  });

  test("copies only files that there are", () => {
    const scripts = text.match(/\bscripts\/[\w-]+\.(?:sh|ts)/g) ?? [];
    expect(scripts.length).toBeGreaterThan(1);
    expect(scripts.filter((file) => !existsSync(join(root, file)))).toEqual([]);
  });

  test("sets no secret and no address", () => {
    expect(text).not.toMatch(/HODEI_(OTP|TOKEN|SERVER_ADDRESS|WORKER_ID)/);
  });
});

test("the worker has what scripts want, the agent, and its entry", () => {
  for (const name of ["bash", "ca-certificates", "coreutils", "curl", "git", "python3", "tini"]) {
    expect(shipped(worker)).toMatch(new RegExp(`[ \\n]${name}[ \\n]`));
  }
  expect(worker).toContain("/usr/local/lib/hodei/agent.js");
  expect(worker).toMatch(/^ENTRYPOINT \["\/usr\/local\/bin\/hodei-jobs-worker"\]$/m);
  expect(worker).toMatch(/^WORKDIR \/home\/hodei$/m);
  const entry = read("scripts/hodei-jobs-worker.sh");
  expect(entry).toMatch(/^set -- node .* \/usr\/local\/lib\/hodei\/agent\.js "\$@"$/m);
  expect(entry).toMatch(/^exec tini -s -- "\$@"$/m);
  const cache = /^export NODE_COMPILE_CACHE=(.*)$/m.exec(entry)?.[1] ?? "none";
  expect(worker).toContain(`mkdir -m 777 ${cache} `);
});

test("asdf is fetched only where a version is asked for", () => {
  expect(worker).toMatch(/^ARG ASDF_VERSION=$/m);
  expect(worker).toContain('if [ -n "$ASDF_VERSION" ]; then');
});

test("the npm that an image may fetch is pinned by its hash", () => {
  expect(read("scripts/image-build.sh")).toMatch(/^npm_integrity=sha512-[A-Za-z0-9+/]{86}==$/m);
});
