// Makes the templates of deploy/helm/hodei-jobs from the same objects as deploy/kubernetes: printed with stand-ins, which become values.
import { parseAllDocuments } from "yaml";
import { defaultsOf, type KubernetesConfig } from "../src/provider/kubernetes/config.ts";
import { type ManifestGroup, printManifests } from "../src/provider/kubernetes/manifests.ts";
import type { ServerStore } from "../src/provider/kubernetes/manifests-server.ts";

const provider = ".Values.kubernetesProvider";

/** What is printed in place of a value, and the value. None is a part of another, and none occurs by itself. */
const values: readonly (readonly [standIn: string, value: string])[] = [
  ["xx-system-xx", ".Release.Namespace"],
  ["xx-workers-xx", `${provider}.namespace`],
  ["xx-account-xx", `${provider}.serviceAccount`],
  ["xx-pull-secret-xx", `${provider}.imagePullSecret`],
  ["xx-prefix-xx", `${provider}.namespacePrefix`],
  ["xx-level-xx", `${provider}.podSecurityStandard`],
  ["xx-worker-image-xx", `${provider}.image`],
  ["xx-server-image-xx", ".Values.server.image"],
  ["7771m", `${provider}.defaultCpuRequest`],
  ["7772m", `${provider}.defaultCpuLimit`],
  ["7771Mi", `${provider}.defaultMemoryRequest`],
  ["7772Mi", `${provider}.defaultMemoryLimit`],
  ["777771", `${provider}.maxConcurrentWorkers | int`],
  ["777772", ".Values.autoscaling.minReplicas | int"],
  ["777773", ".Values.autoscaling.maxReplicas | int"],
  ["777774", ".Values.autoscaling.cpuPercent | int"],
  ["777775", ".Values.autoscaling.memoryPercent | int"],
  ["77", ".Values.server.replicas | int"],
  ["xx-bucket-xx", ".Values.s3.bucket"],
  ["xx-region-xx", ".Values.s3.region"],
  ["http://xx-endpoint-xx:7776", ".Values.s3.endpoint"],
  ["7776", ".Values.s3.port | int"],
];

const inRedis = ".Values.redis.enabled";
const inBucket = ".Values.s3.bucket";

/** The templates by name, as they have to be. */
export function chartTemplates(): ReadonlyMap<string, string> {
  return new Map([
    ["namespace.yaml", withoutSystem(template("namespace"))],
    ["rbac.yaml", rbac()],
    ["network-policy.yaml", networkPolicy()],
    ["configmap.yaml", configmap()],
    ["server.yaml", server()],
    ["service-monitor.yaml", guarded(".Values.serviceMonitor.enabled", one("ServiceMonitor"))],
    ["prometheus-rule.yaml", guarded(".Values.prometheusRules.enabled", one("PrometheusRule"))],
  ]);
}

interface Variant {
  readonly dynamicNamespaces?: boolean;
  readonly enableHpa?: boolean;
  readonly store?: ServerStore;
  readonly replicas?: number;
  readonly settings?: Readonly<Record<string, string>>;
}

function standIns({ dynamicNamespaces = false, enableHpa = false }: Variant): KubernetesConfig {
  const base = defaultsOf("standard");
  return {
    ...base,
    dynamicNamespaces,
    enableHpa,
    namespace: "xx-workers-xx",
    namespacePrefix: "xx-prefix-xx",
    serviceAccount: "xx-account-xx",
    imagePullSecrets: ["xx-pull-secret-xx"],
    image: "xx-worker-image-xx",
    maxWorkers: 777_771,
    defaultCpuRequest: "7771m",
    defaultCpuLimit: "7772m",
    defaultMemoryRequest: "7771Mi",
    defaultMemoryLimit: "7772Mi",
    limitRange: {
      ...base.limitRange,
      defaultCpu: "7772m",
      defaultMemory: "7772Mi",
      defaultRequestCpu: "7771m",
      defaultRequestMemory: "7771Mi",
    },
    controlPlane: { ...base.controlPlane, namespace: "xx-system-xx" },
    hpa: {
      ...base.hpa,
      minReplicas: 777_772,
      maxReplicas: 777_773,
      cpuPercent: 777_774,
      memoryPercent: 777_775,
    },
  };
}

function template(group: ManifestGroup, variant: Variant = {}): string {
  const { store = "embedded", replicas, settings } = variant;
  const options = {
    config: standIns(variant),
    serverImage: "xx-server-image-xx",
    store,
    ...(replicas !== undefined && { replicas }),
    ...(settings !== undefined && { settings }),
  };
  // The level is one of three words for the type, and any for the text.
  const text = printManifests(options, [group]).replaceAll(/: restricted$/gm, ": xx-level-xx");
  let shown = text.replaceAll(/\{\{|\}\}/g, (braces) => `{{ "${braces}" }}`);
  for (const [standIn, value] of values) {
    const isNumber = value.endsWith(" | int");
    shown = shown
      .replaceAll(
        new RegExp(`: ${standIn}$`, "gm"),
        `: {{ ${value}${isNumber ? "" : " | quote"} }}`,
      )
      .replaceAll(new RegExp(`: "${standIn}"$`, "gm"), `: {{ ${value} | quote }}`);
    if (!isNumber || standIn.length > 4) shown = shown.replaceAll(standIn, `{{ ${value} }}`);
  }
  return shown;
}

function documents(text: string): string[] {
  return text.replace(/^#.*\n/, "").split("---\n");
}

function guarded(condition: string, text: string): string {
  return `{{- if ${condition} }}\n${text}{{- end }}\n`;
}

/** The release's namespace is made by `helm install --create-namespace`. */
function withoutSystem(text: string): string {
  return documents(text).slice(1).join("---\n");
}

function one(kind: string): string {
  const found = documents(template("monitoring")).find((text) => text.includes(`kind: ${kind}\n`));
  return found ?? "";
}

/** The documents of both, each behind the condition where it is in one of them alone or differs. */
function either(condition: string, yes: string, no: string): string {
  const nameOf = (text: string): string =>
    /kind: .*\nmetadata:\n {2}name: .*/.exec(text)?.[0] ?? "";
  const others = new Map(documents(no).map((text) => [nameOf(text), text]));
  const all = documents(yes).map((text) => {
    const other = others.get(nameOf(text));
    others.delete(nameOf(text));
    if (other === undefined) return guarded(condition, text);
    if (other === text) return text;
    return `{{- if ${condition} }}\n${text}{{- else }}\n${other}{{- end }}\n`;
  });
  const rest = [...others.values()].map((text) => guarded(`not ${condition}`, text));
  return [...all, ...rest].join("---\n");
}

/** Some rights and the policy that goes with them are for tenants' namespaces only. */
function rbac(): string {
  const dynamic = template("rbac", { dynamicNamespaces: true });
  return either(`${provider}.enableDynamicNamespaces`, dynamic, template("rbac")).replace(
    /imagePullSecrets:\n {2}- name: .*\n/,
    (lines) => guarded(`${provider}.imagePullSecret`, lines),
  );
}

const bucket = {
  HODEI_LOG_ARCHIVE: "s3",
  HODEI_S3_BUCKET: "xx-bucket-xx",
  HODEI_S3_REGION: "xx-region-xx",
  HODEI_S3_ENDPOINT: "http://xx-endpoint-xx:7776",
};

function networkPolicy(): string {
  const withBucket = (store: ServerStore): string =>
    template("network-policy", { store, settings: bucket }).replace(
      / {4}- ports:\n {8}- protocol: TCP\n {10}port: \{\{ \.Values\.s3\.port.*\n/,
      (lines) => guarded(inBucket, lines),
    );
  return guarded(
    ".Values.networkPolicy.enabled",
    either(inRedis, withBucket("redis"), withBucket("embedded")),
  );
}

function configmap(): string {
  return documents(template("configmap", { settings: bucket }))
    .join("---\n")
    .replace(
      'HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "false"',
      `HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: {{ ${provider}.enableDynamicNamespaces | quote }}`,
    )
    .replace(/ {2}HODEI_K8S_IMAGE_PULL_SECRET: .*\n/, (line) =>
      guarded(`${provider}.imagePullSecret`, line),
    )
    .replace(/( {2}HODEI_(LOG_ARCHIVE|S3_\w+): .*\n)+/, (lines) => guarded(inBucket, lines))
    .concat("  HODEI_LOG_LEVEL: {{ .Values.logging.level | quote }}\n");
}

function server(): string {
  const named = (group: string, name: string): string =>
    `{{ .Values.${group}.existingSecret | default "${name}" | quote }}`;
  const autoscaling = ".Values.autoscaling.enabled";
  const shared = { store: "redis", settings: bucket } as const;
  const scaled = documents(template("server", { ...shared, enableHpa: true }));
  const autoscaler = scaled.find((text) => text.includes("kind: HorizontalPodAutoscaler")) ?? "";
  const several = template("server", { ...shared, replicas: 77 })
    .replace(/ {2}replicas: .*\n/, (line) => guarded(`not ${autoscaling}`, line))
    .concat(`---\n${guarded(autoscaling, autoscaler)}`);
  const alone = template("server", { settings: bucket });
  const text = either(inRedis, several, alone)
    .replaceAll(
      /hodei\.io\/config: .*/g,
      "hodei.io/config: {{ .Values | toJson | sha256sum | quote }}",
    )
    .replaceAll(
      "secretName: hodei-admin-token",
      `secretName: ${named("adminToken", "hodei-admin-token")}`,
    )
    .replaceAll(
      "secretName: hodei-encryption-key",
      `secretName: ${named("encryptionKey", "hodei-encryption-key")}`,
    )
    .replaceAll("name: hodei-redis", `name: ${named("redis", "hodei-redis")}`)
    .replaceAll("name: hodei-s3", `name: ${named("s3", "hodei-s3")}`)
    .replaceAll(/( {12}- name: HODEI_S3_\w+\n(?: {14}.*\n)+)+/g, (lines) =>
      guarded(inBucket, lines),
    )
    .replaceAll("storage: 10Gi", "storage: {{ .Values.persistence.size | quote }}")
    .replaceAll(/ {2}accessModes:\n/g, (line) =>
      guarded(
        ".Values.persistence.storageClass",
        "  storageClassName: {{ .Values.persistence.storageClass | quote }}\n",
      ).concat(line),
    )
    .replaceAll("cpu: 100m", "cpu: {{ .Values.server.cpuRequest | quote }}")
    .replaceAll("memory: 512Mi", "memory: {{ .Values.server.memoryRequest | quote }}")
    .replaceAll("memory: 1Gi", "memory: {{ .Values.server.memoryLimit | quote }}");
  return documents(text)
    .map((document) =>
      document.includes("kind: PodDisruptionBudget")
        ? guarded(".Values.podDisruptionBudget.enabled", document)
        : document,
    )
    .join("---\n");
}

/** What a template gives with these values: as much of Helm's language as the templates use. */
export function renderTemplate(text: string, given: Readonly<Record<string, unknown>>): unknown[] {
  const lookUp = (path: string): unknown =>
    path
      .split(".")
      .slice(1)
      .reduce<unknown>((value, key) => (value as Record<string, unknown>)[key], given);
  let kept = text;
  const block =
    /\{\{- if (not )?(\S+) \}\}\n((?:(?!\{\{- (?:if|else|end))[^])*)(?:\{\{- else \}\}\n((?:(?!\{\{- (?:if|end))[^])*))?\{\{- end \}\}\n/;
  for (let match = block.exec(kept); match !== null; match = block.exec(kept)) {
    const [whole, not, condition = "", yes = "", no = ""] = match;
    kept = kept.replace(whole, () =>
      Boolean(lookUp(condition)) === (not === undefined) ? yes : no,
    );
  }
  const shown = kept.replaceAll(/\{\{ (.*?) \}\}/g, (_, expression: string) => {
    const [source = "", ...pipes] = expression.split(" | ");
    let value: unknown = source.startsWith('"') ? JSON.parse(source) : lookUp(source);
    for (const pipe of pipes) {
      if (pipe === "quote") value = JSON.stringify(String(value));
      else if (pipe.startsWith("default ")) value = value || JSON.parse(pipe.slice(8));
      else if (pipe === "sha256sum" || pipe === "toJson") value = "0";
      else if (pipe !== "int") throw new Error(`no such function: ${pipe}`);
    }
    return String(value);
  });
  return parseAllDocuments(shown)
    .map((document) => document.toJS() as unknown)
    .filter((object) => object !== null);
}
