import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { manifestsOf } from "../../src/server-manifests.ts";
import { type Measured, startMeasured } from "../metrics/ground.ts";

const root = join(import.meta.dirname, "../..");
const read = (file: string): string => readFileSync(join(root, file), "utf8");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: Readonly<Record<"x" | "y" | "w" | "h", number>>;
  readonly targets?: readonly { readonly expr: string }[];
}

interface Groups {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}

const rules = (parse(read("deploy/monitoring/alerts.yaml")) as Groups).groups.flatMap(
  (group) => group.rules,
);
const printed = [read("deploy/kubernetes/monitoring.yaml"), manifestsOf({}, {}).text].flatMap(
  (text) =>
    parseAllDocuments(text)
      .map((document) => document.toJS() as { kind?: string; spec?: Groups } | null)
      .flatMap((object) => (object?.kind === "PrometheusRule" ? (object.spec?.groups ?? []) : []))
      .flatMap((group) => group.rules),
);
const dashboards = globSync("deploy/monitoring/grafana/dashboards/*.json", { cwd: root }).map(
  (file) => JSON.parse(read(file)) as { readonly panels: readonly Panel[] },
);
const panels = dashboards.flatMap((dashboard) => dashboard.panels);
const expressions = [
  ...[...rules, ...printed].map(({ alert, expr }) => ({ of: alert, expr })),
  ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ of: title, expr }))),
];

/** Of PromQL, as far as we use it. */
const functions = new Set(
  "sum min max count absent histogram_quantile rate increase predict_linear vector time".split(" "),
);
const words = new Set("by on and or le bool".split(" "));

let measured: Measured;
let exported: ReadonlySet<string>;
beforeAll(async () => {
  measured = await startMeasured();
  exported = (await measured.scrape()).names;
});
afterAll(async () => measured[Symbol.asyncDispose]());

/** The expression without strings, durations and the label names in braces and groupings. */
function bare(expr: string): string {
  return expr
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, "")
    .replaceAll(/\{[^{}]*\}/g, "")
    .replaceAll(/\b(by|on) ?\([^()]*\)/g, "$1")
    .replaceAll(/\[(?:\d+[smhd]|\$__rate_interval)\]/g, "");
}

test("there is something to look at", () => {
  expect(rules.length).toBeGreaterThan(15);
  expect(printed.length).toBeGreaterThan(30);
  expect(expressions.length).toBeGreaterThan(100);
});

test.for(expressions)("$of: $expr names what a running server exports", ({ expr }) => {
  const names = bare(expr).match(/\b[a-z]\w*_\w+\b/g) ?? [];
  const metrics = names.filter((name) => !functions.has(name));
  expect(metrics.filter((name) => !exported.has(name))).toEqual([]);
});

test.for(expressions)("$of: $expr is well formed", ({ expr }) => {
  const open: string[] = [];
  for (const sign of expr.replaceAll(/"(?:[^"\\]|\\.)*"/g, "")) {
    if ("([{".includes(sign)) open.push(sign);
    const pair = { ")": "(", "]": "[", "}": "{" }[sign];
    if (pair !== undefined) expect(open.pop()).toBe(pair);
  }
  expect(open).toEqual([]);
  const rest = bare(expr);
  expect(rest).not.toMatch(/["{}[\]]/);
  const called = [...rest.matchAll(/\b([a-z_]+) ?\(/g)].map(([, name = ""]) => name);
  expect(called.filter((name) => !functions.has(name) && !words.has(name))).toEqual([]);
  const plain = (rest.match(/\b[a-z]\w*\b/g) ?? []).filter((word) => !exported.has(word));
  expect(plain.filter((word) => !functions.has(word) && !words.has(word) && word !== "up")).toEqual(
    [],
  );
  // Two operands stand side by side, or an operator has none.
  expect(rest).not.toMatch(/[-+*/<>=]\s*$|^\s*[*/<>=]|\)\s*[a-z_]*\w+_total/);
});

describe("alerts", () => {
  test("have names of their own, and say what to do", () => {
    const names = rules.map((rule) => rule.alert);
    expect(new Set(names).size).toBe(names.length);
    for (const { labels, annotations } of rules) {
      expect(["warning", "critical"]).toContain(labels.severity);
      expect(annotations.summary).not.toBe("");
      expect(annotations.description).not.toBe("");
    }
  });

  test("look at what the ones for the operator look at", () => {
    const names = rules.map((rule) => rule.alert);
    const missing = new Set(printed.map((rule) => rule.alert)).difference(new Set(names));
    expect([...missing]).toEqual([]);
  });
});

test("panels have ids of their own and do not cover each other", () => {
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  expect(panels.filter(({ gridPos: { x, w } }) => x + w > 24)).toEqual([]);
});

test("every metric of ours has a place on the dashboard or in an alert", () => {
  const all = expressions.map(({ expr }) => expr).join("\n");
  const ours = [...exported].filter((name) => /^hodei_.*(?<!_sum|_count|_bucket)$/.test(name));
  expect(ours.length).toBeGreaterThan(50);
  expect(ours.filter((name) => !new RegExp(`\\b${name}(?:_bucket|_count)?\\b`).test(all))).toEqual(
    [],
  );
});
