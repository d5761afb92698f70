import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { configTable } from "#config.ts";

const root = join(import.meta.dirname, "../..");
const files = [
  "docs/kubernetes.md",
  "deploy/kubernetes/README.md",
  "deploy/kubernetes/install.sh",
  "justfile",
];

/** Variables of the command, the agent and the recipes. */
const others = /^HODEI_(TOKEN(_FILE)?|CA_CERT_PATH|SERVER|K8S|TEST|RECIPE_\w+|DEV_ADDRESS)$/;

test.for(files)("%s names only settings that there are", (file) => {
  const known = new Set(configTable().map(({ name }) => name));
  const named = new Set(
    readFileSync(join(root, file), "utf8").match(/\bHODEI_[A-Z0-9_]*[A-Z0-9]/g),
  );
  expect([...named].filter((name) => !known.has(name) && !others.test(name))).toEqual([]);
});
