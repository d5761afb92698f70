import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");

function just(...args: readonly string[]) {
  const run = spawnSync(join(root, "node_modules/.bin/just"), args, {
    cwd: root,
    encoding: "utf8",
  });
  return { code: run.status, output: run.stdout + run.stderr };
}

const jobs = ["hello", "cpu", "memory", "data", "ml", "build", "gpu"];

describe("the justfile", () => {
  test("has every recipe", () => {
    const listed = just("--summary").output.trim().split(" ");
    expect(listed).toEqual(
      expect.arrayContaining([
        ...jobs.map((name) => `job-k8s-${name}`),
        "job-k8s-all",
        "job-status",
        "job-logs",
        "job-cleanup",
        "image",
        "image-tag",
        "image-push",
        "image-load-kind",
        "image-load-k3d",
        "dev",
        "k8s-setup",
        "k8s-clean",
      ]),
    );
  });

  test.for(jobs)("job-k8s-%s runs on Kubernetes or nowhere, within bounds", (name) => {
    const { code, output } = just("--dry-run", `job-k8s-${name}`);
    expect(code).toBe(0);
    expect(output).toMatch(/ run --provider kubernetes /);
    expect(output).toMatch(/ --queue-timeout /);
    expect(output).toMatch(/ --timeout /);
    expect(output).toMatch(/ --memory /);
  });

  test("jobs that compute do so in Python, and the one for a GPU asks for one", () => {
    for (const name of ["memory", "data", "ml"]) {
      expect(just("--dry-run", `job-k8s-${name}`).output).toContain("-- python3 -c");
    }
    expect(just("--dry-run", "job-k8s-gpu").output).toContain("--gpu 1");
  });

  test("a recipe ends with the exit code of its job", () => {
    expect(just("k8s=exit 7 #", "job-k8s-hello").code).toBe(7);
  });

  test("job-k8s-all goes on after a failure, fails with it, and names it", () => {
    const { code, output } = just("k8s=sh -c 'exit 7' #", "job-k8s-all", "hello", "cpu");
    expect(output).toContain("== job-k8s-cpu");
    // The variable given to `just` does not reach the recipes that it calls; without a server they cannot be reached.
    expect(code).not.toBe(0);
    expect(output).toMatch(/failed: hello \(\d+\) cpu \(\d+\)/);
  });
});
