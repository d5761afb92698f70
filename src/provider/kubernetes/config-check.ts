import { isIP } from "node:net";
import { HodeiError } from "#error.ts";
import { type KubernetesConfig, plainPrefix } from "./config.ts";
import { isReserved } from "./names.ts";
import { parseQuantity } from "./quantity.ts";

/** A field that is wrong, and why: `namespace: …`. */
type Problems = string[];

const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const dnsSubdomain = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;

const labelName = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** The configuration with its prefix in its plain form. Error: `invalid_argument` with one line for each wrong field, by name. */
export function checkKubernetesConfig(given: KubernetesConfig): KubernetesConfig {
  const config = { ...given, namespacePrefix: plainPrefix(given.namespacePrefix) };
  const problems = [
    ...namespaceProblems(config),
    ...nameProblems(config),
    ...placementProblems(config),
    ...resourceProblems(config),
    ...podProblems(config),
    ...numberProblems(config),
    ...networkProblems(config),
  ];
  if (problems.length > 0) throw new HodeiError("invalid_argument", problems.join("\n"));
  return config;
}

function namespaceProblems(config: KubernetesConfig): Problems {
  const { namespace, namespacePrefix, dynamicNamespaces, createInfrastructure } = config;
  if (namespace === "") return ["Kubernetes namespace cannot be empty"];
  const problems: Problems = [];
  if (!dnsLabel.test(namespace)) {
    problems.push(`namespace: ${namespace} is not the name of a namespace`);
  } else if (createInfrastructure && isReserved(namespace)) {
    problems.push(
      `namespace: ${namespace} is the cluster's own; policies and quotas would be put on what else lives there`,
    );
  }
  if (dynamicNamespaces && namespacePrefix === "") {
    problems.push("namespacePrefix: cannot be empty where tenants have namespaces");
  }
  // A tenant's name follows.
  if (namespacePrefix !== "" && (!dnsLabel.test(namespacePrefix) || namespacePrefix.length > 40)) {
    problems.push(
      `namespacePrefix: ${namespacePrefix} has to be lower-case letters, digits and dashes, at most 40`,
    );
  }
  if (namespacePrefix === "kube" || namespacePrefix.startsWith("kube-")) {
    problems.push(`namespacePrefix: ${namespacePrefix} is the cluster's own`);
  }
  return problems;
}

function nameProblems(config: KubernetesConfig): Problems {
  const { serviceAccount, image, imagePullSecrets, instance, controlPlane } = config;
  const names: [string, string][] = [
    ["serviceAccount", serviceAccount],
    ...imagePullSecrets.map((name, at): [string, string] => [`imagePullSecrets[${at}]`, name]),
    ["controlPlane.namespace", controlPlane.namespace],
    ["controlPlane.serviceAccount", controlPlane.serviceAccount],
    ["controlPlane.service", controlPlane.service],
  ];
  const problems = names
    .filter(([, name]) => !dnsSubdomain.test(name))
    .map(([field, name]) => `${field}: ${JSON.stringify(name)} is no name of a Kubernetes object`);
  if (image === "" || /\s/.test(image)) {
    problems.push(`image: ${JSON.stringify(image)} is no image`);
  }
  if (instance === "") problems.push("instance: cannot be empty");
  return problems;
}

function placementProblems(config: KubernetesConfig): Problems {
  const { baseLabels, baseAnnotations, nodeSelector, controlPlane } = config;
  const problems: Problems = [];
  const labels = { baseLabels, nodeSelector, "controlPlane.podLabels": controlPlane.podLabels };
  for (const [field, entries] of Object.entries(labels)) {
    for (const [key, value] of Object.entries(entries)) {
      if (!isKey(key)) problems.push(`${field}: ${JSON.stringify(key)} is no key of a label`);
      if (value !== "" && !labelName.test(value)) {
        problems.push(`${field}: ${JSON.stringify(key)} has a value that is none of a label`);
      }
    }
  }
  for (const key of Object.keys(baseAnnotations)) {
    if (!isKey(key)) problems.push(`baseAnnotations: ${JSON.stringify(key)} is no key`);
  }
  for (const field of ["podAffinity", "podAntiAffinity"] as const) {
    config[field].forEach(({ weight, topologyKey, labels: wanted }, at) => {
      if (!Number.isInteger(weight) || weight < 1 || weight > 100) {
        problems.push(`${field}[${at}].weight: has to be a whole number from 1 to 100`);
      }
      if (topologyKey === "") problems.push(`${field}[${at}].topologyKey: cannot be empty`);
      if (Object.keys(wanted).length === 0) problems.push(`${field}[${at}].labels: are missing`);
    });
  }
  config.tolerations.forEach(({ operator, effect, key, value }, at) => {
    if (operator !== undefined && !["Exists", "Equal"].includes(operator)) {
      problems.push(`tolerations[${at}].operator: has to be Exists or Equal`);
    }
    if (operator === "Exists" && value !== undefined && value !== "") {
      problems.push(`tolerations[${at}].value: has no meaning with Exists`);
    }
    if ((key === undefined || key === "") && operator !== "Exists") {
      problems.push(`tolerations[${at}].key: cannot be empty unless the operator is Exists`);
    }
    const effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if (effect !== undefined && effect !== "" && !effects.includes(effect)) {
      problems.push(`tolerations[${at}].effect: has to be one of ${effects.join(", ")}`);
    }
  });
  return problems;
}

/** An operator may use the cluster's own prefixes, `kubernetes.io/os`. */
function isKey(key: string): boolean {
  const slash = key.indexOf("/");
  return (
    (slash < 0 || dnsSubdomain.test(key.slice(0, slash))) && labelName.test(key.slice(slash + 1))
  );
}

function resourceProblems(config: KubernetesConfig): Problems {
  const problems: Problems = [];
  const check = (field: string, quantity: string): number | undefined => {
    const number = parseQuantity(quantity);
    if (number !== undefined && number > 0) return number;
    problems.push(`${field}: ${JSON.stringify(quantity)} is no quantity such as 500m or 4Gi`);
    return undefined;
  };
  for (const what of ["Cpu", "Memory"] as const) {
    const request = check(`default${what}Request`, config[`default${what}Request`]);
    const limit = check(`default${what}Limit`, config[`default${what}Limit`]);
    if (request !== undefined && limit !== undefined && request > limit) {
      problems.push(`default${what}Request: is more than default${what}Limit`);
    }
    const { limitRange } = config;
    if (!limitRange.isEnabled) continue;
    const least = check(`limitRange.defaultRequest${what}`, limitRange[`defaultRequest${what}`]);
    const most = check(`limitRange.default${what}`, limitRange[`default${what}`]);
    if (least !== undefined && most !== undefined && least > most) {
      problems.push(`limitRange.defaultRequest${what}: is more than limitRange.default${what}`);
    }
  }
  if (config.quota.isEnabled) {
    for (const [key, quantity] of Object.entries(config.quota.hard)) {
      if (parseQuantity(quantity) === undefined) check(`quota.hard.${key}`, quantity);
    }
  }
  return problems;
}

function podProblems(config: KubernetesConfig): Problems {
  const { podSecurityStandard, securityContext, volumes } = config;
  const problems: Problems = [];
  if (podSecurityStandard === "restricted" && securityContext.runAsUser === 0) {
    problems.push("securityContext.runAsUser: cannot be root where pods are restricted");
  }
  const taken = new Set<string>();
  volumes.forEach((volume, at) => {
    const field = `volumes[${at}]`;
    if (!dnsLabel.test(volume.name)) problems.push(`${field}.name: ${volume.name} is no name`);
    if (taken.has(volume.name)) problems.push(`${field}.name: ${volume.name} is there twice`);
    taken.add(volume.name);
    if (!volume.mountPath.startsWith("/") || /[:\0]|(^|\/)\.\.(\/|$)/.test(volume.mountPath)) {
      problems.push(`${field}.mountPath: ${volume.mountPath} is no absolute path`);
    }
    if (volume.kind === "hostPath" && podSecurityStandard !== "privileged") {
      problems.push(`${field}: hostPath needs podSecurityStandard privileged`);
    }
    if (volume.kind === "pvc" && !dnsSubdomain.test(volume.claimName)) {
      problems.push(`${field}.claimName: ${JSON.stringify(volume.claimName)} is no name`);
    }
  });
  const containers = new Set(["worker"]);
  for (const field of ["initContainers", "sidecars"] as const) {
    config[field].forEach(({ name, image }, at) => {
      if (!dnsLabel.test(name)) problems.push(`${field}[${at}].name: ${name} is no name`);
      if (containers.has(name)) problems.push(`${field}[${at}].name: ${name} is there twice`);
      containers.add(name);
      if (image === undefined || image === "") problems.push(`${field}[${at}].image: is missing`);
    });
  }
  return problems;
}

function numberProblems(config: KubernetesConfig): Problems {
  const problems: Problems = [];
  const bounds = {
    requestTimeoutMs: [100, 600_000],
    watchIdleTimeoutMs: [100, 3_600_000],
    maxConnections: [1, 1_000],
    agentMemoryBytes: [0, 2 ** 40],
    agentCpuMillis: [0, 64_000],
    scratchBytes: [0, 2 ** 50],
    ttlSecondsAfterFinished: [0, 31_536_000],
    creationTimeoutSeconds: [1, 3_600],
    terminationGraceSeconds: [0, 86_400],
    maxLifetimeSeconds: [1, 31_536_000],
    maxWorkers: [1, 1_000_000],
  } as const;
  for (const [field, [least, most]] of Object.entries(bounds)) {
    const value = config[field as keyof typeof bounds];
    if (!Number.isInteger(value) || value < least || value > most) {
      problems.push(`${field}: has to be a whole number from ${least} to ${most}`);
    }
  }
  const { hpa, price } = config;
  if (hpa.minReplicas < 1 || hpa.maxReplicas < hpa.minReplicas) {
    problems.push("hpa: needs 1 ≤ minReplicas ≤ maxReplicas");
  }
  for (const [unit, cost] of Object.entries(price)) {
    if (!(Number(cost) >= 0 && Number(cost) < 1e9)) problems.push(`price.${unit}: is no price`);
  }
  return problems;
}

function networkProblems({ networkPolicy, controlPlane }: KubernetesConfig): Problems {
  const cidrs = {
    "controlPlane.cidrs": controlPlane.cidrs,
    "networkPolicy.dnsCidrs": networkPolicy.dnsCidrs,
    "networkPolicy.exceptCidrs": networkPolicy.exceptCidrs,
  };
  const problems = Object.entries(cidrs).flatMap(([field, list]) =>
    list
      .filter((cidr) => !isCidr(cidr))
      .map((cidr) => `${field}: ${cidr} is no block of addresses such as 192.0.2.10/32`),
  );
  const { agentPort } = controlPlane;
  if (!Number.isInteger(agentPort) || agentPort < 1 || agentPort > 65_535) {
    problems.push("controlPlane.agentPort: has to be a port");
  }
  return problems;
}

/** Whether the text is a block of addresses, `192.0.2.0/24`. */
export function isCidr(text: string): boolean {
  const [address = "", bits = "", ...rest] = text.split("/");
  const family = isIP(address);
  if (family === 0 || rest.length > 0 || !/^\d{1,3}$/.test(bits)) return false;
  return Number(bits) <= (family === 4 ? 32 : 128);
}
