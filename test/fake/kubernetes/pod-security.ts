import type { Container, PodSpec } from "./kubelet-types.ts";
import type { Namespace, Pod } from "./objects.ts";

export type Level = "privileged" | "baseline" | "restricted";

interface Context {
  readonly spec: PodSpec;
  readonly annotations: Readonly<Record<string, string>>;
  /** Init containers first, as a real server names them. */
  readonly containers: readonly Container[];
}

/** What a pod does that its level forbids, in the words of the rule; undefined if nothing. */
type Check = (context: Context) => string | undefined;

/** The text after "is forbidden: " for a namespace that enforces a level; undefined if allowed. */
export function podSecurityProblem(
  pod: Pod,
  namespace: Namespace,
  mode: "enforce" | "warn",
): string | undefined {
  const labels = namespace.metadata.labels ?? {};
  const level = labels[`pod-security.kubernetes.io/${mode}`] ?? "privileged";
  const version = labels[`pod-security.kubernetes.io/${mode}-version`] ?? "latest";
  const violations = violationsOf(pod, level);
  if (violations.length === 0) return undefined;
  const verb = mode === "enforce" ? "violates" : "would violate";
  return `${verb} PodSecurity "${level}:${version}": ${violations.join(", ")}`;
}

export function violationsOf(pod: Pod, level: string): string[] {
  const spec = pod.spec ?? { containers: [] };
  const context = {
    spec,
    annotations: pod.metadata.annotations ?? {},
    containers: [...(spec.initContainers ?? []), ...spec.containers],
  };
  const checks =
    level === "restricted"
      ? [...baseline, ...restricted]
      : level === "baseline"
        ? [...baseline, ...replacedByRestricted]
        : [];
  return checks.map((check) => check(context)).filter((text) => text !== undefined);
}

/** `container "a"`, `containers "a", "b"`. */
function named(containers: readonly Container[]): string {
  const names = containers.map(({ name }) => `"${name}"`).join(", ");
  return `container${containers.length === 1 ? "" : "s"} ${names}`;
}

function list(values: readonly string[]): string {
  return [...new Set(values)]
    .toSorted()
    .map((value) => `"${value}"`)
    .join(", ");
}

const hostNamespaces: Check = ({ spec }) => {
  const used = (["hostNetwork", "hostPID", "hostIPC"] as const).filter(
    (field) => spec[field] === true,
  );
  return used.length === 0
    ? undefined
    : `host namespaces (${used.map((field) => `${field}=true`).join(", ")})`;
};

const hostPorts: Check = ({ containers }) => {
  const bad = containers.filter(({ ports }) => ports?.some((port) => (port.hostPort ?? 0) !== 0));
  const ports = bad.flatMap((one) => one.ports ?? []).map((port) => port.hostPort ?? 0);
  const numbers = ports.filter((port) => port !== 0).join(", ");
  return bad.length === 0
    ? undefined
    : `hostPort (${named(bad)} ${bad.length === 1 ? "uses" : "use"} hostPort${ports.length === 1 ? "" : "s"} ${numbers})`;
};

const privileged: Check = ({ containers }) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.privileged === true);
  return bad.length === 0
    ? undefined
    : `privileged (${named(bad)} must not set securityContext.privileged=true)`;
};

const procMount: Check = ({ containers }) => {
  const bad = containers.filter(
    ({ securityContext }) => (securityContext?.procMount ?? "Default") !== "Default",
  );
  return bad.length === 0
    ? undefined
    : `procMount (${named(bad)} must not set securityContext.procMount to ${list(bad.map((one) => one.securityContext?.procMount ?? ""))})`;
};

const hostPath: Check = ({ spec }) => {
  const bad = (spec.volumes ?? []).filter((volume) => volume.hostPath !== undefined);
  return bad.length === 0
    ? undefined
    : `hostPath volumes (volume${bad.length === 1 ? "" : "s"} ${bad.map(({ name }) => `"${name}"`).join(", ")})`;
};

const safeSysctls = new Set([
  "kernel.shm_rmid_forced",
  "net.ipv4.ip_local_port_range",
  "net.ipv4.ip_unprivileged_port_start",
  "net.ipv4.tcp_syncookies",
  "net.ipv4.ping_group_range",
  "net.ipv4.ip_local_reserved_ports",
  "net.ipv4.tcp_keepalive_time",
  "net.ipv4.tcp_fin_timeout",
  "net.ipv4.tcp_keepalive_intvl",
  "net.ipv4.tcp_keepalive_probes",
]);
const sysctls: Check = ({ spec }) => {
  const bad = (spec.securityContext?.sysctls ?? []).filter(({ name }) => !safeSysctls.has(name));
  return bad.length === 0
    ? undefined
    : `forbidden sysctls (${bad.map(({ name }) => name).join(", ")})`;
};

const appArmor: Check = ({ annotations }) => {
  const bad = Object.entries(annotations).filter(
    ([key, value]) =>
      key.startsWith("container.apparmor.security.beta.kubernetes.io/") &&
      !(value === "" || value === "runtime/default" || value.startsWith("localhost/")),
  );
  return bad.length === 0
    ? undefined
    : `forbidden AppArmor profile (${bad.map(([key, value]) => `${key}="${value}"`).join(", ")})`;
};

const defaultCapabilities = new Set([
  "AUDIT_WRITE",
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "MKNOD",
  "NET_BIND_SERVICE",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_CHROOT",
]);
const addedCapabilities: Check = ({ containers }) => {
  const added = (one: Container): string[] =>
    (one.securityContext?.capabilities?.add ?? []).filter((name) => !defaultCapabilities.has(name));
  const bad = containers.filter((one) => added(one).length > 0);
  return bad.length === 0
    ? undefined
    : `non-default capabilities (${named(bad)} must not include ${list(bad.flatMap(added))} in securityContext.capabilities.add)`;
};

const unconfined: Check = ({ spec, containers }) => {
  const isBad = (profile: { type: string } | undefined): boolean => profile?.type === "Unconfined";
  const bad = containers.filter(({ securityContext }) => isBad(securityContext?.seccompProfile));
  const setters = [
    ...(isBad(spec.securityContext?.seccompProfile) ? ["pod"] : []),
    ...(bad.length === 0 ? [] : [named(bad)]),
  ];
  return setters.length === 0
    ? undefined
    : `seccompProfile (${setters.join(" and ")} must not set securityContext.seccompProfile.type to "Unconfined")`;
};

/** Those of baseline that restricted keeps, then those that it replaces by stricter ones. */
const baseline: readonly Check[] = [
  appArmor,
  hostNamespaces,
  hostPorts,
  privileged,
  procMount,
  sysctls,
];
const replacedByRestricted: readonly Check[] = [addedCapabilities, hostPath, unconfined];

const escalation: Check = ({ containers }) => {
  const bad = containers.filter((one) => one.securityContext?.allowPrivilegeEscalation !== false);
  return bad.length === 0
    ? undefined
    : `allowPrivilegeEscalation != false (${named(bad)} must set securityContext.allowPrivilegeEscalation=false)`;
};

const capabilities: Check = ({ containers }) => {
  const keeps = containers.filter(
    (one) => one.securityContext?.capabilities?.drop?.includes("ALL") !== true,
  );
  const added = (one: Container): string[] =>
    (one.securityContext?.capabilities?.add ?? []).filter((name) => name !== "NET_BIND_SERVICE");
  const adds = containers.filter((one) => added(one).length > 0);
  const texts = [
    ...(keeps.length === 0
      ? []
      : [`${named(keeps)} must set securityContext.capabilities.drop=["ALL"]`]),
    ...(adds.length === 0
      ? []
      : [
          `${named(adds)} must not include ${list(adds.flatMap(added))} in securityContext.capabilities.add`,
        ]),
  ];
  return texts.length === 0 ? undefined : `unrestricted capabilities (${texts.join("; ")})`;
};

const allowedVolumes = new Set([
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret",
]);
const volumeTypes: Check = ({ spec }) => {
  const kindOf = (volume: object): string =>
    Object.keys(volume).find((key) => key !== "name") ?? "unknown";
  const bad = (spec.volumes ?? []).filter((volume) => !allowedVolumes.has(kindOf(volume)));
  const isOne = bad.length === 1;
  const types = [...new Set(bad.map(kindOf))];
  return bad.length === 0
    ? undefined
    : `restricted volume types (volume${isOne ? "" : "s"} ${bad.map(({ name }) => `"${name}"`).join(", ")} ${isOne ? "uses" : "use"} restricted volume type${types.length === 1 ? "" : "s"} ${list(types)})`;
};

const runAsNonRoot: Check = ({ spec, containers }) => {
  const ofPod = spec.securityContext?.runAsNonRoot;
  const explicit = containers.filter(
    ({ securityContext }) => securityContext?.runAsNonRoot === false,
  );
  const implicit = containers.filter(
    ({ securityContext }) => securityContext?.runAsNonRoot === undefined,
  );
  if (ofPod === false || explicit.length > 0) {
    const who = [
      ...(ofPod === false ? ["pod"] : []),
      ...(explicit.length > 0 ? [named(explicit)] : []),
    ];
    return `runAsNonRoot != true (${who.join(" and ")} must not set securityContext.runAsNonRoot=false)`;
  }
  if (ofPod === true || implicit.length === 0) return undefined;
  return `runAsNonRoot != true (pod or ${named(implicit)} must set securityContext.runAsNonRoot=true)`;
};

const runAsRoot: Check = ({ spec, containers }) => {
  const bad = containers.filter(({ securityContext }) => securityContext?.runAsUser === 0);
  const who = [
    ...(spec.securityContext?.runAsUser === 0 ? ["pod"] : []),
    ...(bad.length === 0 ? [] : [named(bad)]),
  ];
  return who.length === 0
    ? undefined
    : `runAsUser=0 (${who.join(" and ")} must not set runAsUser=0)`;
};

const seccomp: Check = (context) => {
  const bad = unconfined(context);
  if (bad !== undefined) return bad;
  const isSafe = (profile: { type: string } | undefined): boolean =>
    profile?.type === "RuntimeDefault" || profile?.type === "Localhost";
  if (isSafe(context.spec.securityContext?.seccompProfile)) return undefined;
  const without = context.containers.filter((one) => !isSafe(one.securityContext?.seccompProfile));
  return without.length === 0
    ? undefined
    : `seccompProfile (pod or ${named(without)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")`;
};

const restricted: readonly Check[] = [
  escalation,
  capabilities,
  volumeTypes,
  runAsNonRoot,
  runAsRoot,
  seccomp,
];
