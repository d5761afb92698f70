// Makes the templates of deploy/helm/hodei-jobs from the same objects as deploy/kubernetes: printed with stand-ins, which become values.
import { parseAllDocuments } from "yaml";
import { defaultsOf, type KubernetesConfig } from "../src/provider/kubernetes/config.ts";
import { type ManifestGroup, printManifests } from "../src/provider/kubernetes/manifests.ts";

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
];

/** The templates by name, as they have to be. */
export function chartTemplates(): ReadonlyMap<string, string> {
  return new Map([
    ["namespace.yaml", withoutSystem(template("namespace"))],
    ["rbac.yaml", rbac()],
    ["network-policy.yaml", guarded(".Values.networkPolicy.enabled", template("network-policy"))],
    ["configmap.yaml", configmap()],
    ["server.yaml", server()],
    ["service-monitor.yaml", guarded(".Values.serviceMonitor.enabled", one("ServiceMonitor"))],
    ["prometheus-rule.yaml", guarded(".Values.prometheusRules.enabled", one("PrometheusRule"))],
  ]);
}

function standIns(dynamicNamespaces: boolean): KubernetesConfig {
  const base = defaultsOf("standard");
  return {
    ...base,
    dynamicNamespaces,
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
  };
}

function template(group: ManifestGroup, dynamicNamespaces = false): string {
  const config = standIns(dynamicNamespaces);
  const options = { config, serverImage: "xx-server-image-xx", store: "embedded" } as const;
  // The level is one of three words for the type, and any for the text.
  const text = printManifests(options, group).replaceAll(/: restricted$/gm, ": xx-level-xx");
  let shown = text.replaceAll(/\{\{|\}\}/g, (braces) => `{{ "${braces}" }}`);
  for (const [standIn, value] of values) {
    const isWhole = new RegExp(`: "?${standIn}"?$`, "gm");
    shown = shown.replaceAll(isWhole, `: {{ ${value} | quote }}`);
    shown = shown.replaceAll(standIn, `{{ ${value} }}`);
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

/** Some rights and the policy that goes with them are for tenants' namespaces only. */
function rbac(): string {
  const dynamic = `${provider}.enableDynamicNamespaces`;
  const nameOf = (text: string): string =>
    /kind: .*\nmetadata:\n {2}name: .*/.exec(text)?.[0] ?? "";
  const plain = new Map(documents(template("rbac")).map((text) => [nameOf(text), text]));
  const all = documents(template("rbac", true)).map((text) => {
    const other = plain.get(nameOf(text));
    if (other === undefined) return guarded(dynamic, text);
    return other === text ? text : `{{- if ${dynamic} }}\n${text}{{- else }}\n${other}{{- end }}\n`;
  });
  const secret = /imagePullSecrets:\n {2}- name: .*\n/;
  return all
    .join("---\n")
    .replace(secret, (lines) => guarded(`${provider}.imagePullSecret`, lines));
}

function configmap(): string {
  return documents(template("configmap"))
    .join("---\n")
    .replace(
      'HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "false"',
      `HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: {{ ${provider}.enableDynamicNamespaces | quote }}`,
    )
    .replace(/ {2}HODEI_K8S_IMAGE_PULL_SECRET: .*\n/, (line) =>
      guarded(`${provider}.imagePullSecret`, line),
    )
    .concat("  HODEI_LOG_LEVEL: {{ .Values.logging.level | quote }}\n");
}

function server(): string {
  const secretName = `{{ .Values.adminToken.existingSecret | default "hodei-admin-token" | quote }}`;
  const text = documents(template("server"))
    .join("---\n")
    .replace(/hodei\.io\/config: .*/, "hodei.io/config: {{ .Values | toJson | sha256sum | quote }}")
    .replace("secretName: hodei-admin-token", `secretName: ${secretName}`)
    .replace("storage: 10Gi", "storage: {{ .Values.persistence.size | quote }}")
    .replace(/ {2}accessModes:\n/, (line) =>
      guarded(
        ".Values.persistence.storageClass",
        "  storageClassName: {{ .Values.persistence.storageClass | quote }}\n",
      ).concat(line),
    )
    .replace("cpu: 100m", "cpu: {{ .Values.server.cpuRequest | quote }}")
    .replace("memory: 256Mi", "memory: {{ .Values.server.memoryRequest | quote }}")
    .replace("memory: 1Gi", "memory: {{ .Values.server.memoryLimit | quote }}");
  const all = text.split("---\n");
  const budget = all.findIndex((document) => document.includes("kind: PodDisruptionBudget"));
  const guardedBudget = guarded(".Values.podDisruptionBudget.enabled", all[budget] ?? "");
  return all.map((document, at) => (at === budget ? guardedBudget : document)).join("---\n");
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
    /\{\{- if (\S+) \}\}\n((?:(?!\{\{- (?:if|else|end))[^])*)(?:\{\{- else \}\}\n((?:(?!\{\{- (?:if|end))[^])*))?\{\{- end \}\}\n/;
  for (let match = block.exec(kept); match !== null; match = block.exec(kept)) {
    const [whole, condition = "", yes = "", no = ""] = match;
    kept = kept.replace(whole, () => (lookUp(condition) ? yes : no));
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
