import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { defaultsOf } from "#provider/kubernetes/config.ts";
import { defaultServerImage, manifestObjects } from "#provider/kubernetes/manifests.ts";
import { renderTemplate } from "../../scripts/chart.ts";

const chart = join(import.meta.dirname, "../../deploy/helm/hodei-jobs");
const read = (file: string): string => readFileSync(join(chart, file), "utf8");

interface Values {
  [key: string]: Record<string, unknown>;
}

/** The Secrets' templates need a cluster to look into; every other one is rendered. */
function render(change: (values: Values) => void = () => undefined): Named[] {
  const values = parse(read("values.yaml")) as Values;
  change(values);
  const given = { Values: values, Release: { Namespace: "hodei-system" } };
  return globSync("templates/*.yaml", { cwd: chart })
    .filter((file) => !/(admin-token|encryption-key)\.yaml$/.test(file))
    .flatMap((file) => renderTemplate(read(file), given) as Named[]);
}

interface Named {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

const keyOf = ({ kind, metadata }: Named): string =>
  `${kind} ${metadata.namespace ?? ""} ${metadata.name}`;

describe("the chart", () => {
  test.for([
    ["its own values", {}, { store: "embedded" }],
    ["several servers over Redis", { redis: { enabled: true } }, { store: "redis" }],
    [
      "servers that are scaled",
      { redis: { enabled: true }, autoscaling: { enabled: true } },
      { store: "redis", enableHpa: true },
    ],
  ] as const)("renders with %s what the manifests are", ([, change, { store, ...more }]) => {
    const objects = render((values) => {
      values["serviceMonitor"] = { enabled: true };
      values["prometheusRules"] = { enabled: true };
      for (const [group, inside] of Object.entries(change))
        Object.assign(values[group] ?? {}, inside);
    });
    const config = { ...defaultsOf("standard"), ...more };
    const options = { config, serverImage: defaultServerImage, store };
    const printed = JSON.parse(
      JSON.stringify(Object.values(manifestObjects(options)).flat()),
    ) as Named[];
    // The release's namespace is there before the chart.
    const wanted = printed.filter((one) => keyOf(one) !== "Namespace  hodei-system");
    expect(objects.map(keyOf).toSorted()).toEqual(wanted.map(keyOf).toSorted());
    for (const object of objects) {
      expect(comparable(object)).toEqual(
        comparable(wanted.find((one) => keyOf(one) === keyOf(object))),
      );
    }
  });

  test("lets the server out to a bucket, with its key, only where one is named", () => {
    const s3 = { bucket: "logs", endpoint: "http://minio.minio.svc:9000", port: 9000 };
    for (const isRedis of [false, true]) {
      const text = (change: object): string =>
        JSON.stringify(
          render((values) => {
            Object.assign(values["redis"] ?? {}, { enabled: isRedis });
            Object.assign(values["s3"] ?? {}, change);
          }),
        );
      for (const word of [
        "HODEI_S3_SECRET_ACCESS_KEY",
        '"HODEI_LOG_ARCHIVE":"s3"',
        '"port":9000',
      ]) {
        expect(text({})).not.toContain(word);
        expect(text(s3)).toContain(word);
      }
    }
  });

  test("binds rights of its own only where tenants have namespaces, and then under a policy", () => {
    const given = (enableDynamicNamespaces: boolean): string =>
      JSON.stringify(
        render((values) => {
          Object.assign(values["kubernetesProvider"] ?? {}, { enableDynamicNamespaces });
        }).filter(({ kind }) => /^(ClusterRole|ValidatingAdmissionPolicy)/.test(kind)),
      );
    for (const word of ['"bind"', "ValidatingAdmissionPolicyBinding"]) {
      expect(given(false)).not.toContain(word);
      expect(given(true)).toContain(word);
    }
  });

  test("leaves out what is switched off", () => {
    const kinds = render((values) => {
      values["networkPolicy"] = { enabled: false };
      values["podDisruptionBudget"] = { enabled: false };
    }).map(({ kind }) => kind);
    for (const kind of ["NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor", "PrometheusRule"])
      expect(kinds).not.toContain(kind);
  });

  test("takes every value from values.yaml, and uses every one", () => {
    const values = parse(read("values.yaml")) as Values;
    const known = Object.entries(values).flatMap(([group, inside]) =>
      Object.keys(inside).map((name) => `.Values.${group}.${name}`),
    );
    const text = globSync("templates/*", { cwd: chart }).map(read).join("\n");
    const used = new Set(text.match(/\.Values\.\w+\.\w+/g));
    expect([...used].toSorted()).toEqual(known.toSorted());
  });
});

/** The chart's configuration changes with any value, and it names a level of logging; its pull secret needs one verb more. */
function comparable(object: Named | undefined): unknown {
  const text = JSON.stringify(object, (key, value: unknown) => {
    if (key === "hodei.io/config" || key === "HODEI_LOG_LEVEL") return undefined;
    const isSecrets = JSON.stringify((value as { resources?: unknown } | null)?.resources);
    return isSecrets === '["secrets"]' ? undefined : value;
  });
  return JSON.parse(text);
}
