import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { configTable, parseConfig } from "#config.ts";
import { createMetrics } from "#metrics.ts";
import type { KubernetesConfig } from "#provider/kubernetes/config.ts";
import { manifestObjects } from "#provider/kubernetes/manifests.ts";
import { kubernetesConfigOf } from "../../src/server-kubernetes.ts";
import { manifestsOf } from "../../src/server-manifests.ts";
import { manifestFiles } from "../../scripts/manifests.ts";
import { readObject } from "../fake/kubernetes/schema.ts";
import { type Found, get, legacy, named, type Pod, printed, standard } from "./printed.ts";

const root = join(import.meta.dirname, "../..");

test("the files in deploy are what is printed (else: node scripts/manifests.ts)", () => {
  const files = manifestFiles();
  const other = [...files].filter(
    ([file, text]) => readFileSync(join(root, "deploy", file), "utf8") !== text,
  );
  expect(other.map(([file]) => file)).toEqual([]);
  const there = globSync("kubernetes/**/*.yaml", { cwd: join(root, "deploy") });
  expect(there.toSorted()).toEqual(
    [...files.keys()].filter((f) => !f.startsWith("helm")).toSorted(),
  );
});

describe.for(named)("$name manifests", ({ config }) => {
  const objects = printed(config);

  test("have no field that Kubernetes does not know, and miss none that it wants", () => {
    const known = objects.filter(({ apiVersion }) => !apiVersion.startsWith("monitoring."));
    expect(known.length).toBeGreaterThan(15);
    for (const object of known) {
      const { unknown, missing } = readObject(modelOf(object), object);
      expect({ unknown, missing }).toEqual({
        unknown: [],
        missing: [],
      });
    }
  });

  test("name every object once, in a namespace that is made before it", () => {
    const made = new Set<string>();
    const seen = new Set<string>();
    for (const { kind, metadata } of objects) {
      const { name, namespace } = metadata;
      if (kind === "Namespace") made.add(name);
      if (namespace !== undefined) expect(made).toContain(namespace);
      const key = `${kind} ${namespace ?? ""} ${name}`;
      expect(seen).not.toContain(key);
      seen.add(key);
    }
  });

  test("select the server's pod by labels that it has", () => {
    const { selector, template } = get(objects, "Deployment").spec;
    const { labels } = template.metadata;
    const service = get(objects, "Service");
    expect({ matchLabels: labels }).toMatchObject(selector);
    expect(labels).toMatchObject(service.spec.selector);
    expect({ matchLabels: labels }).toMatchObject(
      get(objects, "PodDisruptionBudget").spec.selector,
    );
    expect({ matchLabels: labels }).toMatchObject(
      get(objects, "NetworkPolicy", "hodei-server").spec.podSelector,
    );
    expect({ matchLabels: service.metadata.labels }).toMatchObject(
      get(objects, "ServiceMonitor").spec.selector,
    );
    const server = config.controlPlane;
    const workers = objects.filter(
      ({ kind, metadata }) => kind === "NetworkPolicy" && metadata.namespace !== server.namespace,
    );
    expect(JSON.stringify(workers)).toContain(JSON.stringify(server.podLabels));
    expect(JSON.stringify(workers)).toContain(server.namespace);
  });

  test("configure a server that means the same", () => {
    const env: Record<string, string> = { ...get(objects, "ConfigMap").data };
    for (const { name, value } of containerOf(objects).env) env[name] = value;
    const { config: parsed, warnings } = parseConfig(env);
    expect(warnings).toEqual([]);
    const { namespace, service, agentPort } = config.controlPlane;
    expect(parsed.serverAddress).toBe(`${service}.${namespace}.svc:${agentPort}`);
    const same = { attestation: config.attestation, prePullImage: config.prePullImage };
    expect({ ...kubernetesConfigOf(parsed), ...same }).toEqual(config);
  });

  test("run the server as the restricted level wants it", () => {
    const pod = podOf(objects);
    expect(pod.securityContext).toMatchObject({
      runAsNonRoot: true,
      runAsUser: 1000,
      seccompProfile: { type: "RuntimeDefault" },
    });
    expect(containerOf(objects).securityContext).toEqual({
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ["ALL"] },
    });
    // A Service's variables would look like settings.
    expect(pod.enableServiceLinks).toBe(false);
    const mounted = containerOf(objects).volumeMounts.map(({ name }) => name);
    expect(mounted.toSorted()).toEqual(pod.volumes.map(({ name }) => name).toSorted());
  });

  test("have one server over one volume, and hold up no drain", () => {
    expect(get(objects, "Deployment").spec).toMatchObject({
      replicas: 1,
      strategy: { type: "Recreate" },
    });
    expect(get(objects, "PodDisruptionBudget").spec).toMatchObject({ maxUnavailable: 1 });
    expect(get(objects, "PersistentVolumeClaim").metadata.name).toBe("hodei-server-data");
  });
});

test("the names are those of each profile", () => {
  const names = (config: KubernetesConfig): string[] =>
    printed(config)
      .filter(({ metadata }) => metadata.namespace === config.namespace)
      .map(({ kind, metadata }) => `${kind} ${metadata.name}`);
  expect(names(standard)).toEqual(
    expect.arrayContaining([
      "ServiceAccount hodei-jobs-worker",
      "Role hodei-jobs-worker-role",
      "RoleBinding hodei-jobs-worker-binding",
      "ResourceQuota hodei-jobs-workers-quota",
      "LimitRange hodei-jobs-workers-limits",
      "NetworkPolicy hodei-jobs-workers-netpol",
    ]),
  );
  expect(names(legacy)).toEqual(
    expect.arrayContaining([
      "ServiceAccount hodei-worker",
      "Role hodei-provider",
      "RoleBinding hodei-provider",
      "NetworkPolicy hodei-workers-egress",
      "NetworkPolicy hodei-workers-default-deny",
    ]),
  );
});

test("an image that sets no user may run in the worker namespace of the legacy profile, and in no other", () => {
  const levelOf = (config: KubernetesConfig): string | undefined =>
    get(printed(config), "Namespace", config.namespace).metadata.labels[
      "pod-security.kubernetes.io/enforce"
    ];
  expect(levelOf(legacy)).toBe("baseline");
  expect(levelOf(standard)).toBe("restricted");
});

describe("the autoscaler", () => {
  const scaled = { ...standard, enableHpa: true };

  test("is refused over an embedded store", () => {
    const options = { config: scaled, serverImage: "x", store: "embedded" } as const;
    expect(() => manifestObjects(options)).toThrow(/an embedded store has one server/);
    expect(() => manifestsOf({}, { hpa: true })).toThrow(/an embedded store has one server/);
  });

  test("scales the server over a shared store, which then says no number of its own", () => {
    const objects = printed(scaled, "redis");
    const hpa = get(objects, "HorizontalPodAutoscaler");
    expect(hpa.apiVersion).toBe("autoscaling/v2");
    expect(readObject("V2HorizontalPodAutoscaler", hpa)).toMatchObject({
      unknown: [],
      missing: [],
    });
    expect(hpa.spec).toMatchObject({
      minReplicas: 2,
      maxReplicas: 10,
      scaleTargetRef: { kind: "Deployment", name: get(objects, "Deployment").metadata.name },
    });
    expect(get(objects, "Deployment").spec).not.toHaveProperty("replicas");
    expect(objects.map(({ kind }) => kind)).not.toContain("PersistentVolumeClaim");
  });
});

describe("servers over Redis", () => {
  const several = printed(standard, "redis");
  const deployment = get(several, "Deployment").spec;

  test("are two, of which a new one is ready before an old one goes", () => {
    expect(deployment).toMatchObject({
      replicas: 2,
      strategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
    });
    expect(get(several, "PodDisruptionBudget").spec).toMatchObject({ maxUnavailable: 1 });
    expect(readObject("V1Deployment", get(several, "Deployment"))).toMatchObject({
      unknown: [],
      missing: [],
    });
  });

  test("are kept apart from each other by the labels that they have", () => {
    const pod = podOf(several);
    expect(pod.topologySpreadConstraints.map(({ topologyKey }) => topologyKey)).toEqual([
      "kubernetes.io/hostname",
      "topology.kubernetes.io/zone",
    ]);
    const { labels } = get(several, "Deployment").spec.template.metadata;
    for (const { labelSelector } of pod.topologySpreadConstraints) {
      expect({ matchLabels: labels }).toMatchObject(labelSelector);
    }
  });

  test("keep nothing of their own, and share what they have to from Secrets", () => {
    expect(several.map(({ kind }) => kind)).not.toContain("PersistentVolumeClaim");
    const volumes = podOf(several).volumes;
    expect(volumes).toContainEqual({ name: "data", emptyDir: {} });
    const { env } = containerOf(several);
    const names = env.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(["HODEI_REDIS_URL", "HODEI_ENCRYPTION_KEY_FILE", "HODEI_TLS_AUTO"]),
    );
    const known = new Set(configTable().map(({ name }) => name));
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  test("have as long to stop as they take for it", () => {
    const { terminationGracePeriodSeconds } = podOf(several);
    const { config } = parseConfig({});
    expect(terminationGracePeriodSeconds).toBeGreaterThan((2 * config.drainTimeoutMs) / 1_000);
  });

  test("are as many as is asked for, and over a volume there is one", () => {
    const { objects } = manifestsOf({}, { store: "redis", replicas: 5, only: ["server"] });
    expect(JSON.stringify(objects)).toContain('"replicas":5');
    expect(() => manifestsOf({}, { replicas: 2 })).toThrow(/an embedded store has one server/);
    expect(() => manifestsOf({}, { store: "redis", replicas: 0 })).toThrow(/--replicas: 0/);
    const both = { store: "redis", replicas: 2, hpa: true } as const;
    expect(() => manifestsOf({}, both)).toThrow(/--replicas and --hpa exclude each other/);
  });

  test("reach the bucket that the environment names, with a key from a Secret alone", () => {
    const env = {
      HODEI_LOG_ARCHIVE: "s3",
      HODEI_S3_BUCKET: "logs",
      HODEI_S3_ENDPOINT: "http://minio.minio.svc:9000",
      HODEI_S3_ACCESS_KEY_ID: "an-id-that-stays-here",
      HODEI_S3_SECRET_ACCESS_KEY: "a-key-that-stays-here",
    };
    const { text } = manifestsOf(env, { store: "redis" });
    expect(text).toContain("HODEI_S3_BUCKET: logs");
    expect(text).toMatch(/port: 9000$/m);
    expect(text).toContain("key: secret-access-key");
    expect(text).not.toContain("stays-here");
  });
});

test("alerts ask for nothing but what the server exports", async () => {
  const { text } = await createMetrics().read();
  const source = globSync(["src/metrics.ts", "src/server*.ts"], { cwd: root })
    .map((file) => readFileSync(join(root, file), "utf8"))
    .join("\n");
  const rules = JSON.stringify(get(printed(standard), "PrometheusRule").spec);
  const asked = new Set(rules.match(/\b(?:hodei|nodejs|process)_[a-z0-9_]+/g));
  expect(asked.size).toBeGreaterThan(5);
  const isExported = (name: string): boolean =>
    text.includes(`# TYPE ${name} `) || source.includes(`"${name}"`);
  expect([...asked].filter((name) => !isExported(name))).toEqual([]);
});

describe("manifests for an environment", () => {
  test("hold its settings, but not its way to the cluster", () => {
    const env = {
      HODEI_K8S_KUBECONFIG: "/home/me/config",
      HODEI_K8S_QUOTA: '{"pods": "7"}',
      HODEI_TOKEN: "secret",
    };
    const { text } = manifestsOf(env, { only: ["configmap"], image: "example.org/worker:1" });
    expect(text).toContain("HODEI_K8S_QUOTA");
    expect(text).toContain("HODEI_WORKER_IMAGE: example.org/worker:1");
    expect(text).not.toMatch(/\/home\/me|secret/);
    expect(manifestsOf(env, { only: ["namespace"] }).text).toContain('pods: "7"');
  });
});

function podOf(objects: readonly Found[]): Pod {
  return get(objects, "Deployment").spec.template.spec;
}

function containerOf(objects: readonly Found[]): Pod["containers"][number] {
  const [container] = podOf(objects).containers;
  if (container === undefined) throw new Error("the pod has no container");
  return container;
}

function modelOf({ apiVersion, kind }: Found): string {
  const version = apiVersion.split("/").at(-1) ?? "";
  return version.slice(0, 1).toUpperCase() + version.slice(1) + kind;
}
