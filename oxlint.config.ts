import { defineConfig, type DummyRuleMap } from "oxlint";

/**
 * Which folder of src/ may import which; whatever is not named here is refused. A folder may
 * always import itself. `docs/ARCHITECTURE.md` has the picture, `test/tidy.test.ts` the proof.
 */
const pure = ["job", "worker", "tenant", "log"];
const interfaces = ["store/store.ts", "logstore/logstore.ts", "provider/provider.ts"];
const base = ["addresses.ts", "error.ts", "every.ts", "telemetry.ts", "processes.ts"];

const mayImport: Record<string, string[]> = {
  job: ["error.ts"],
  worker: ["error.ts", "job"],
  tenant: ["error.ts", "job"],
  log: ["error.ts", "job"],
  store: [...base, ...pure],
  "store/*": [...base, ...pure, "store/store.ts", "store/provider-store.ts", "store/dump.ts"],
  logstore: [...base, ...pure],
  "logstore/*": [
    ...base,
    ...pure,
    "logstore/logstore.ts",
    "logstore/object-store.ts",
    "logstore/frames",
  ],
  // The same server, connected and explained in the same way.
  "logstore/redis": [
    ...base,
    ...pure,
    "logstore/logstore.ts",
    "logstore/object-store.ts",
    "logstore/frames",
    "store/redis/address.ts",
    "store/redis/check.ts",
    "store/redis/cluster.ts",
    "store/redis/fault.ts",
  ],
  provider: [...base, ...pure],
  "provider/*": [...base, ...pure, "provider/provider.ts"],
  scheduler: [...base, ...pure, ...interfaces],
  rpc: [...base, "job", "log"],
  api: [...base, ...pure, ...interfaces, "scheduler", "rpc"],
  agent: [...base, "rpc", "log", "job"],
  client: ["addresses.ts", "error.ts", "every.ts", "rpc", "log", "job"],
  cli: [
    "addresses.ts",
    "error.ts",
    "every.ts",
    "telemetry.ts",
    "config.ts",
    "client",
    "rpc",
    "log",
    "job",
  ],
};

/** Packages that only some folders may see, and which ones. */
const packages: Record<string, string[]> = {
  "@grpc/*": ["rpc", "api", "agent", "client", "cli"],
  "grpc-health-check": ["rpc", "api"],
  "@aws-sdk/*": ["logstore/s3"],
  ioredis: ["store/redis", "logstore/redis"],
  "@kubernetes/*": ["provider/kubernetes"],
  "@peculiar/*": ["rpc"],
  "reflect-metadata": ["rpc"],
  dockerode: ["provider/docker"],
  "node:sqlite": ["store/sqlite"],
};

/** What reaches outside the process; pure folders may not, and the control plane never spawns. */
const outside = ["fs", "fs/promises", "net", "http", "http2", "https", "tls", "worker_threads"];
const noOutside = [...outside.map((name) => `node:${name}`), "node:child_process", "node:timers*"];
const forbidden: Record<string, string[]> = {
  ...Object.fromEntries(pure.map((folder) => [folder, noOutside])),
  ...Object.fromEntries(
    ["store", "store/*", "logstore", "logstore/*", "scheduler", "rpc", "api"].map((folder) => [
      folder,
      ["node:child_process"],
    ]),
  ),
};

const parents = { group: ["../*"], message: "Across folders import #folder/file.ts." };
const bareNode = {
  name: "node:process",
  message: "Use the global `process`; its environment belongs to main.ts.",
};

/** A rule that refuses every `#` import but `allowed`, and every guarded package but `guarded`. */
function border(where: string, allowed: string[], more: string[] = []): DummyRuleMap {
  const closed = Object.entries(packages)
    .filter(([, folders]) => !folders.some((folder) => matches(where, folder)))
    .map(([name]) => name);
  return {
    "no-restricted-imports": [
      "error",
      {
        paths: [bareNode],
        patterns: [
          parents,
          {
            group: ["#*", "#*/**", ...allowed.map((path) => `!#${asPattern(path)}`)],
            message: `src/${where} may not import this; the table is in oxlint.config.ts.`,
          },
          {
            group: [...closed, ...more],
            message: `src/${where} may not see this package; the table is in oxlint.config.ts.`,
          },
        ],
      },
    ],
  };
}

function matches(where: string, folder: string): boolean {
  return where === folder || where.startsWith(`${folder}/`);
}

function asPattern(path: string): string {
  return path.endsWith(".ts") ? path : `${path}/**`;
}

/** `store/*` is an implementation; one that may see a guarded package gets a row of its own. */
const rows = Object.entries(mayImport).concat(
  Object.values(packages)
    .flat()
    .filter((folder) => folder.includes("/"))
    .map((folder) => [folder, mayImport[folder] ?? mayImport[`${folder.split("/")[0]}/*`] ?? []]),
);

const borders = rows.map(([folder, allowed]) => {
  const plural = ["store", "logstore", "provider"].includes(folder);
  const own = plural || folder.endsWith("/*") ? [] : [folder];
  const family = folder.includes("/") ? `${folder.split("/")[0]}/*` : folder;
  return {
    // An interface file stands beside its implementations and must not see them.
    files: [plural ? `src/${folder}/*.ts` : `src/${folder}/**/*.ts`],
    rules: border(
      folder,
      [...allowed, ...own],
      [...(forbidden[family] ?? []), ...(plural ? ["./*/**"] : [])],
    ),
  };
});

export default defineConfig({
  plugins: ["typescript", "unicorn", "oxc", "import", "node", "vitest"],
  categories: { correctness: "error" },
  options: { typeAware: true, typeCheck: true, reportUnusedDisableDirectives: "error" },
  ignorePatterns: ["dist/**", "node_modules/**", "src/rpc/gen/**"],
  rules: {
    eqeqeq: "error",
    "no-var": "error",
    "prefer-const": "error",
    "no-throw-literal": "error",
    "no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
    "no-warning-comments": ["error", { terms: ["todo", "fixme", "xxx", "hack"] }],
    "max-params": ["error", { max: 3 }],
    "max-lines": ["error", { max: 300, skipBlankLines: true, skipComments: true }],
    "max-lines-per-function": ["error", { max: 70, skipBlankLines: true, skipComments: true }],
    "import/no-default-export": "error",
    "typescript/await-thenable": "error",
    "typescript/consistent-type-imports": "error",
    "typescript/no-deprecated": "error",
    "typescript/no-explicit-any": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": "error",
    "typescript/no-non-null-assertion": "error",
    "typescript/no-unnecessary-boolean-literal-compare": "error",
    "typescript/no-unnecessary-template-expression": "error",
    "typescript/no-unnecessary-type-arguments": "error",
    "typescript/no-unnecessary-type-assertion": "error",
    "typescript/no-unnecessary-type-constraint": "error",
    "typescript/no-unsafe-argument": "error",
    "typescript/no-unsafe-assignment": "error",
    "typescript/no-unsafe-call": "error",
    "typescript/no-unsafe-member-access": "error",
    "typescript/no-unsafe-return": "error",
    "typescript/only-throw-error": "error",
    "typescript/prefer-promise-reject-errors": "error",
    "typescript/switch-exhaustiveness-check": [
      "error",
      { considerDefaultExhaustiveForUnions: true },
    ],
    "vitest/no-disabled-tests": "error",
    "vitest/no-focused-tests": "error",
    "no-restricted-imports": ["error", { patterns: [parents] }],
  },
  overrides: [
    {
      files: ["src/**/*.ts"],
      rules: {
        ...border("*", []),
        "no-restricted-properties": [
          "error",
          { object: "process", property: "env", message: "Only main.ts reads the environment." },
        ],
        "no-restricted-globals": [
          "error",
          { name: "setInterval", message: "Use every(): awaited, abortable, never overlapping." },
        ],
      },
    },
    ...borders,
    {
      files: ["src/error.ts", "src/every.ts", "src/telemetry.ts"],
      rules: border("*", base, ["./*/**"]),
    },
    {
      files: ["src/config*.ts", "src/setting.ts"],
      rules: border("*", [...base, ...pure], ["./*/**"]),
    },
    { files: ["src/every.ts"], rules: { "no-restricted-globals": "off" } },
    // The composition roots see everything of ours; packages stay behind their folders.
    { files: ["src/server*.ts", "src/main.ts"], rules: border("*", ["*.ts", "*", "*/**"]) },
    {
      files: ["src/main.ts", "src/agent/main.ts"],
      rules: { "no-restricted-properties": "off" },
    },
    {
      files: ["test/**/*.ts", "bench/**/*.ts"],
      rules: {
        "max-lines-per-function": "off",
        "max-params": "off",
        // expect.any() and its like are typed `any`.
        "typescript/no-unsafe-argument": "off",
        "typescript/no-unsafe-assignment": "off",
        "vitest/no-conditional-expect": "off",
        "vitest/no-standalone-expect": "off",
      },
    },
    { files: ["*.config.ts"], rules: { "import/no-default-export": "off" } },
  ],
});
