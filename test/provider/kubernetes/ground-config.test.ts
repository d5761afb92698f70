import { expect, test } from "vitest";
import { parseConfig } from "#config.ts";
import { isKubernetesEnabled } from "#config-kubernetes.ts";
import {
  defaultKubernetesConfig,
  defaultsOf,
  type KubernetesConfig,
} from "#provider/kubernetes/config.ts";
import { KubernetesConfigBuilder } from "#provider/kubernetes/config-builder.ts";
import { infrastructureObjects } from "#provider/kubernetes/infrastructure.ts";
import { checkKubernetesConfig } from "#provider/kubernetes/config-check.ts";
import { kubernetesConfigOf } from "#server-kubernetes.ts";

const fromEnv = (env: Record<string, string>): KubernetesConfig =>
  kubernetesConfigOf(parseConfig(env).config);

test.for(["standard", "legacy"] as const)("the defaults of the %s names are valid", (names) => {
  expect(checkKubernetesConfig(defaultsOf(names))).toEqual(defaultsOf(names));
});

test("the profiles of names are those of the first deployments and of today", () => {
  expect(defaultsOf("standard")).toMatchObject({
    namespace: "hodei-jobs-workers",
    serviceAccount: "hodei-jobs-worker",
    image: "hodei-jobs-worker:latest",
    podSecurityStandard: "restricted",
  });
  expect(defaultsOf("legacy")).toMatchObject({
    namespace: "hodei-workers",
    serviceAccount: "hodei-worker",
    image: "hodei-worker:latest",
    podSecurityStandard: "baseline",
  });
});

test("the builder makes what its steps say", () => {
  const config = new KubernetesConfigBuilder()
    .namespace("ci")
    .kubeconfigPath("/etc/kubernetes/admin.conf")
    .context("kind-hodei-test")
    .serviceAccount("runner")
    .addBaseLabel("team", "ci")
    .addBaseAnnotation("example.org/owner", "ci")
    .addNodeSelector("kubernetes.io/os", "linux")
    .addToleration({ key: "ci", operator: "Exists", effect: "NoSchedule" })
    .addPodAffinity({ labels: { app: "cache" }, topologyKey: "zone", weight: 50 })
    .addPodAntiAffinity({ labels: { app: "db" }, topologyKey: "zone", weight: 1 })
    .addImagePullSecret("regcred")
    .addVolume({ kind: "emptyDir", name: "cache", mountPath: "/cache" })
    .defaultCpuRequest("500m")
    .defaultMemoryRequest("1Gi")
    .defaultCpuLimit("2")
    .defaultMemoryLimit("4Gi")
    .ttlSecondsAfterFinished(60)
    .creationTimeoutSeconds(30)
    .podSecurityStandard("baseline")
    .securityContext({ runAsUser: 2000 })
    .enableDynamicNamespaces(true)
    .namespacePrefix("hodei-tenant-")
    .enableHpa(true)
    .hpaConfig({ maxReplicas: 20 })
    .build();
  expect(config).toMatchObject({
    namespace: "ci",
    kubeconfigPath: "/etc/kubernetes/admin.conf",
    context: "kind-hodei-test",
    serviceAccount: "runner",
    baseLabels: { app: "hodei-jobs-worker", team: "ci" },
    nodeSelector: { "kubernetes.io/os": "linux" },
    imagePullSecrets: ["regcred"],
    ttlSecondsAfterFinished: 60,
    securityContext: { runAsUser: 2000, runAsGroup: 1000 },
    dynamicNamespaces: true,
    namespacePrefix: "hodei-tenant",
    hpa: { minReplicas: 2, maxReplicas: 20 },
  });
  expect(config.tolerations).toHaveLength(1);
});

test("the builder refuses an empty namespace", () => {
  expect(() => new KubernetesConfigBuilder().namespace("").build()).toThrow(
    "Kubernetes namespace cannot be empty",
  );
});

test("a prefix is the same with trailing dashes and without", () => {
  const prefix = (text: string) =>
    new KubernetesConfigBuilder().namespacePrefix(text).build().namespacePrefix;
  expect(["hodei-tenant", "hodei-tenant-", "hodei-tenant--"].map(prefix)).toEqual([
    "hodei-tenant",
    "hodei-tenant",
    "hodei-tenant",
  ]);
});

const volume = { kind: "hostPath", name: "docker", mountPath: "/d", path: "/d" } as const;

test.for<[string, Partial<KubernetesConfig>]>([
  ["namespace", { namespace: "Not_Valid" }],
  ["namespace", { namespace: "kube-system" }],
  ["namespacePrefix", { dynamicNamespaces: true, namespacePrefix: "-" }],
  ["namespacePrefix", { namespacePrefix: "kube-x" }],
  ["serviceAccount", { serviceAccount: "A" }],
  ["image", { image: "a b" }],
  ["imagePullSecrets[0]", { imagePullSecrets: ["a_b"] }],
  ["baseLabels", { baseLabels: { " workload-type": "x" } }],
  ["baseLabels", { baseLabels: { a: "b c" } }],
  ["defaultCpuRequest", { defaultCpuRequest: "fast" }],
  ["defaultCpuRequest", { defaultCpuRequest: "3" }],
  ["quota.hard.pods", { quota: { isEnabled: true, hard: { pods: "many" } } }],
  ["podAffinity[0].weight", { podAffinity: [{ labels: { a: "b" }, topologyKey: "z", weight: 0 }] }],
  ["tolerations[0].effect", { tolerations: [{ key: "a", operator: "Exists", effect: "Never" }] }],
  ["tolerations[0].key", { tolerations: [{ operator: "Equal", value: "x" }] }],
  ["volumes[0]", { volumes: [volume] }],
  ["sidecars[0].name", { sidecars: [{ name: "worker", image: "x" }] }],
  ["ttlSecondsAfterFinished", { ttlSecondsAfterFinished: -1 }],
  ["maxWorkers", { maxWorkers: 0 }],
  [
    "controlPlane.cidrs",
    { controlPlane: { ...defaultKubernetesConfig.controlPlane, cidrs: ["1.2.3/8"] } },
  ],
])("%s is named when it is wrong: %j", ([field, given]) => {
  const run = () => checkKubernetesConfig({ ...defaultKubernetesConfig, ...given });
  expect(run).toThrow(new RegExp(`^${field.replaceAll(/[[\].]/g, "\\$&")}:`, "m"));
});

test("a path of the node is allowed where pods are privileged", () => {
  const config = { ...defaultKubernetesConfig, volumes: [volume] };
  expect(() => checkKubernetesConfig(config)).toThrow("privileged");
  expect(
    checkKubernetesConfig({ ...config, podSecurityStandard: "privileged" }).volumes,
  ).toHaveLength(1);
});

test("without settings the provider is off, and configured as the standard names say", () => {
  const { config, warnings } = parseConfig({});
  expect(warnings).toEqual([]);
  expect(isKubernetesEnabled(config)).toBe(false);
  expect(kubernetesConfigOf(config)).toEqual(defaultKubernetesConfig);
});

test.for<[Record<string, string>, boolean, number]>([
  [{ HODEI_KUBERNETES_ENABLED: "1" }, true, 0],
  [{ HODEI_K8S_ENABLED: "true" }, true, 0],
  [{ HODEI_K8S_ENABLED: "0" }, false, 0],
  [{ HODEI_KUBERNETES_ENABLED: "1", HODEI_K8S_ENABLED: "1" }, true, 0],
  [{ HODEI_KUBERNETES_ENABLED: "1", HODEI_K8S_ENABLED: "0" }, true, 1],
  [{ HODEI_KUBERNETES_ENABLED: "false", HODEI_K8S_ENABLED: "TRUE" }, false, 1],
])("%j switches the provider: %s, with %d warnings", ([env, isEnabled, count]) => {
  const { config, warnings } = parseConfig(env);
  expect(isKubernetesEnabled(config)).toBe(isEnabled);
  expect(warnings).toHaveLength(count);
});

test("every variable of the seeds reaches the configuration", () => {
  expect(
    fromEnv({
      HODEI_KUBERNETES_ENABLED: "1",
      HODEI_K8S_NAMESPACE: "ci",
      HODEI_K8S_KUBECONFIG: "/a",
      KUBECONFIG: "/b:/c",
      HODEI_K8S_CONTEXT: "kind-hodei-test",
      HODEI_WORKER_IMAGE: "registry.example.org/worker:1",
      HODEI_K8S_SERVICE_ACCOUNT: "runner",
      HODEI_K8S_IMAGE_PULL_SECRET: "regcred, other",
      HODEI_K8S_DEFAULT_CPU_REQUEST: "250m",
      HODEI_K8S_DEFAULT_MEMORY_REQUEST: "256Mi",
      HODEI_K8S_DEFAULT_CPU_LIMIT: "1",
      HODEI_K8S_DEFAULT_MEMORY_LIMIT: "1Gi",
      HODEI_K8S_NAMESPACE_PREFIX: "team-",
      HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "1",
      HODEI_K8S_POD_SECURITY_STANDARD: "Baseline",
      HODEI_K8S_TTL_SECONDS_AFTER_FINISHED: "7",
      HODEI_K8S_SERVER_CIDRS: "192.0.2.10/32",
      HODEI_K8S_NODE_SELECTOR: '{"disk": "ssd"}',
      HODEI_K8S_TOLERATIONS: '[{"key": "ci", "operator": "Exists"}]',
      HODEI_K8S_IMAGE_PULL_POLICY: "Always",
      HODEI_K8S_QUOTA: '{"pods": "500"}',
      HODEI_SERVER_ADDRESS: "hodei.example.org:6000",
    }),
  ).toMatchObject({
    namespace: "ci",
    kubeconfigPath: "/a",
    kubeconfigEnv: "/b:/c",
    context: "kind-hodei-test",
    image: "registry.example.org/worker:1",
    serviceAccount: "runner",
    imagePullSecrets: ["regcred", "other"],
    defaultCpuRequest: "250m",
    defaultMemoryRequest: "256Mi",
    defaultCpuLimit: "1",
    defaultMemoryLimit: "1Gi",
    limitRange: { defaultCpu: "1", defaultRequestMemory: "256Mi" },
    namespacePrefix: "team",
    dynamicNamespaces: true,
    podSecurityStandard: "baseline",
    ttlSecondsAfterFinished: 7,
    controlPlane: { cidrs: ["192.0.2.10/32"], agentPort: 6000 },
    nodeSelector: { disk: "ssd" },
    tolerations: [{ key: "ci", operator: "Exists" }],
    imagePullPolicy: "Always",
    quota: { isEnabled: true, hard: { pods: "500" } },
  });
});

test("a request above the profile's limit raises the limit, one above a given limit is refused", () => {
  const legacy = { HODEI_K8S_NAMES_PROFILE: "legacy", HODEI_K8S_DEFAULT_MEMORY_REQUEST: "1Gi" };
  expect(fromEnv(legacy)).toMatchObject({ namespace: "hodei-workers", defaultMemoryLimit: "1Gi" });
  expect(() => fromEnv({ ...legacy, HODEI_K8S_DEFAULT_MEMORY_LIMIT: "512Mi" })).toThrow(
    /^HODEI_K8S_DEFAULT_MEMORY_REQUEST: is more than/,
  );
});

test.for([
  ["HODEI_KUBERNETES_ENABLED", "maybe"],
  ["HODEI_K8S_ENABLED", "on"],
  ["HODEI_K8S_NAMES_PROFILE", "old"],
  ["HODEI_K8S_DEFAULT_CPU_REQUEST", "fast"],
  ["HODEI_K8S_DEFAULT_MEMORY_LIMIT", "4 GB"],
  ["HODEI_K8S_DEFAULT_CPU_LIMIT", "0"],
  ["HODEI_K8S_POD_SECURITY_STANDARD", "strict"],
  ["HODEI_K8S_MAX_WORKERS", "0"],
  ["HODEI_K8S_TTL_SECONDS_AFTER_FINISHED", "soon"],
  ["HODEI_K8S_TOLERATIONS", '[{"key": "a", "operator": "Maybe"}]'],
  ["HODEI_K8S_NODE_SELECTOR", "ssd"],
  ["HODEI_K8S_SERVER_CIDRS", "here"],
  ["HODEI_K8S_IMAGE_PULL_SECRET", "a_b"],
  ["HODEI_K8S_VOLUMES", '[{"kind": "nfs", "name": "a", "mountPath": "/a"}]'],
  ["HODEI_K8S_NAMESPACE", "Workers"],
  ["HODEI_K8S_NAMESPACE", "kube-system"],
  ["HODEI_WORKER_IMAGE", "a b"],
  ["HODEI_K8S_SERVICE_ACCOUNT", "A"],
  ["HODEI_K8S_SERVER_CIDRS", "1.2.3.4/99"],
] as const)("%s=%j is refused by a line that begins with its name", ([name, value]) => {
  expect(() => fromEnv({ [name]: value })).toThrow(new RegExp(`^${name}: [^\\n]+$`));
});

test("workers may reach the port of every replica that agents are told of", () => {
  const config = fromEnv({
    HODEI_SERVER_ADDRESS: "192.0.2.10:6000,192.0.2.10:6001,192.0.2.11:6000",
    HODEI_K8S_SERVER_CIDRS: "192.0.2.0/28",
  });
  expect(config.controlPlane).toMatchObject({ agentPort: 6000, otherAgentPorts: [6001] });
  const text = JSON.stringify(infrastructureObjects(config, "x"));
  expect(text).toContain('"ports":[{"protocol":"TCP","port":6000},{"protocol":"TCP","port":6001}]');
});
