import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { defaultsOf } from "#provider/kubernetes/config.ts";
import { loadKubeConfig } from "#provider/kubernetes/credentials.ts";

test("a kubeconfig that cannot be read is named, and nothing of it is told", () => {
  const directory = mkdtempSync(join(tmpdir(), "hodei-kubeconfig-"));
  onTestFinished(() => rmSync(directory, { recursive: true }));
  const kubeconfigPath = join(directory, "config");
  writeFileSync(kubeconfigPath, "users:\n- name: me\n  user: {token: very-secret\n  : : [");
  const config = { ...defaultsOf("standard"), kubeconfigPath };
  const failure = (() => {
    try {
      return loadKubeConfig(config);
    } catch (error) {
      return error;
    }
  })();
  expect(failure).toBeInstanceOf(Error);
  const told = inspect(failure, { depth: 10 });
  expect(told).toContain(kubeconfigPath);
  expect(told).not.toContain("very-secret");
});
