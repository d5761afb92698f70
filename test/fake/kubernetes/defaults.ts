import { isJson, type Json } from "./field-set.ts";
import type { KubeObject, Pod } from "./objects.ts";
import { resourceTypes, type Resource } from "./resources.ts";

/** What the server fills in when it reads an object. The object is changed in place. */
export function fillDefaults(resource: Resource, object: KubeObject): void {
  switch (resource) {
    case "pods":
      fillPodSpec(object["spec"]);
      break;
    case "deployments":
    case "daemonsets":
    case "replicasets":
      fillWorkload(resource, object["spec"]);
      break;
    case "secrets":
      foldStringData(object);
      object["type"] ??= "Opaque";
      break;
    case "namespaces":
      object["spec"] ??= { finalizers: ["kubernetes"] };
      object.metadata.labels = {
        ...object.metadata.labels,
        "kubernetes.io/metadata.name": object.metadata.name,
      };
      break;
    case "networkpolicies":
      fillNetworkPolicy(object["spec"]);
      break;
    case "limitranges":
      fillLimitRange(object["spec"]);
      break;
    case "rolebindings":
    case "clusterrolebindings":
      fillBinding(object);
      break;
    case "services":
      fillService(object["spec"]);
      break;
    case "persistentvolumeclaims":
      set(object["spec"], { volumeMode: "Filesystem" });
      break;
    case "horizontalpodautoscalers":
      set(object["spec"], { minReplicas: 1 });
      break;
    default:
      break;
  }
}

function set(target: unknown, values: Json): void {
  if (!isJson(target)) return;
  for (const [field, value] of Object.entries(values)) target[field] ??= value;
}

function listOf(target: unknown, field: string): Json[] {
  const list: unknown = isJson(target) ? target[field] : undefined;
  return Array.isArray(list) ? list.filter(isJson) : [];
}

function fillPodSpec(spec: unknown): void {
  if (!isJson(spec)) return;
  set(spec, {
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 30,
    dnsPolicy: "ClusterFirst",
    securityContext: {},
    schedulerName: "default-scheduler",
  });
  // The old name of the field is kept equal.
  spec["serviceAccountName"] ??= spec["serviceAccount"];
  if (spec["serviceAccountName"] === undefined) delete spec["serviceAccountName"];
  else spec["serviceAccount"] = spec["serviceAccountName"];
  for (const list of ["containers", "initContainers"]) listOf(spec, list).forEach(fillContainer);
  for (const volume of listOf(spec, "volumes")) {
    if (Object.keys(volume).length === 1) volume["emptyDir"] = {};
    for (const kind of ["secret", "configMap", "downwardAPI", "projected"]) {
      set(volume[kind], { defaultMode: 0o644 });
    }
    for (const source of listOf(volume["projected"], "sources")) {
      set(source["serviceAccountToken"], { expirationSeconds: 3600 });
      for (const item of listOf(source["downwardAPI"], "items")) {
        set(item["fieldRef"], { apiVersion: "v1" });
      }
    }
    set(volume["hostPath"], { type: "" });
  }
}

function fillContainer(container: Json): void {
  set(container, {
    resources: {},
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: pullPolicyOf(container["image"]),
  });
  for (const port of listOf(container, "ports")) set(port, { protocol: "TCP" });
  for (const one of listOf(container, "env")) {
    if (isJson(one["valueFrom"])) set(one["valueFrom"]["fieldRef"], { apiVersion: "v1" });
  }
  const resources = container["resources"];
  if (isJson(resources) && isJson(resources["limits"])) {
    const requests = isJson(resources["requests"]) ? resources["requests"] : {};
    resources["requests"] = { ...resources["limits"], ...requests };
  }
  for (const name of ["livenessProbe", "readinessProbe", "startupProbe"]) {
    set(container[name], {
      timeoutSeconds: 1,
      periodSeconds: 10,
      successThreshold: 1,
      failureThreshold: 3,
    });
    if (isJson(container[name])) set(container[name]["httpGet"], { path: "/", scheme: "HTTP" });
  }
}

function pullPolicyOf(image: unknown): string {
  const text = typeof image === "string" ? image : "";
  const last = text.split("/").at(-1) ?? "";
  const isLatest = !last.includes("@") && (!last.includes(":") || last.endsWith(":latest"));
  return isLatest ? "Always" : "IfNotPresent";
}

function fillWorkload(resource: Resource, spec: unknown): void {
  if (!isJson(spec)) return;
  const template = spec["template"];
  if (isJson(template)) fillPodSpec(template["spec"]);
  if (resource === "deployments") {
    set(spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 });
    set(spec, { strategy: { type: "RollingUpdate" } });
    const { strategy } = spec;
    if (isJson(strategy) && strategy["type"] === "RollingUpdate") {
      set(strategy, { rollingUpdate: { maxUnavailable: "25%", maxSurge: "25%" } });
    }
  }
  if (resource === "daemonsets") {
    set(spec, {
      revisionHistoryLimit: 10,
      updateStrategy: { type: "RollingUpdate", rollingUpdate: { maxUnavailable: 1, maxSurge: 0 } },
    });
  }
}

function foldStringData(object: KubeObject): void {
  const { stringData } = object;
  if (!isJson(stringData)) return;
  const encoded = Object.entries(stringData).map(([key, value]) => [
    key,
    Buffer.from(String(value)).toString("base64"),
  ]);
  object["data"] = {
    ...(isJson(object["data"]) ? object["data"] : {}),
    ...Object.fromEntries(encoded),
  };
  delete object["stringData"];
}

function fillNetworkPolicy(spec: unknown): void {
  if (!isJson(spec)) return;
  set(spec, { policyTypes: ["Ingress", ...(listOf(spec, "egress").length > 0 ? ["Egress"] : [])] });
  for (const rule of [...listOf(spec, "ingress"), ...listOf(spec, "egress")]) {
    for (const port of listOf(rule, "ports")) set(port, { protocol: "TCP" });
  }
}

function fillLimitRange(spec: unknown): void {
  for (const limit of listOf(spec, "limits")) {
    if (limit["type"] !== "Container") continue;
    const part = (name: string): Json => (isJson(limit[name]) ? limit[name] : {});
    const limits = { ...part("max"), ...part("default") };
    const requests = { ...part("min"), ...limits, ...part("defaultRequest") };
    if (Object.keys(limits).length > 0) limit["default"] = limits;
    if (Object.keys(requests).length > 0) limit["defaultRequest"] = requests;
  }
}

function fillBinding(object: KubeObject): void {
  set(object["roleRef"], { apiGroup: "rbac.authorization.k8s.io" });
  for (const subject of listOf(object, "subjects")) {
    if (subject["kind"] !== "ServiceAccount") {
      set(subject, { apiGroup: resourceTypes.roles.group });
    }
  }
}

function fillService(spec: unknown): void {
  if (!isJson(spec)) return;
  set(spec, {
    type: "ClusterIP",
    clusterIP: "10.96.0.10",
    sessionAffinity: "None",
    internalTrafficPolicy: "Cluster",
    ipFamilies: ["IPv4"],
    ipFamilyPolicy: "SingleStack",
  });
  set(spec, { clusterIPs: [spec["clusterIP"]] });
  for (const port of listOf(spec, "ports"))
    set(port, { protocol: "TCP", targetPort: port["port"] });
}

/** What a fresh object says of itself. */
export function firstStatus(resource: Resource, object: KubeObject): Json | undefined {
  switch (resource) {
    case "pods":
      return { phase: "Pending", qosClass: qosClassOf(object) };
    case "namespaces":
      return { phase: "Active" };
    case "persistentvolumeclaims":
      return { phase: "Pending" };
    case "services":
      return { loadBalancer: {} };
    case "resourcequotas":
    case "deployments":
      return {};
    case "poddisruptionbudgets":
      return { currentHealthy: 0, desiredHealthy: 0, disruptionsAllowed: 0, expectedPods: 0 };
    default:
      return undefined;
  }
}

function qosClassOf(pod: Pod): string {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const amounts = containers.map(({ resources }) => ({
    limits: resources?.limits ?? {},
    requests: resources?.requests ?? {},
  }));
  if (amounts.every((one) => Object.keys({ ...one.limits, ...one.requests }).length === 0)) {
    return "BestEffort";
  }
  const isGuaranteed = amounts.every(({ limits, requests }) =>
    ["cpu", "memory"].every(
      (name) => limits[name] !== undefined && limits[name] === requests[name],
    ),
  );
  return isGuaranteed ? "Guaranteed" : "Burstable";
}
