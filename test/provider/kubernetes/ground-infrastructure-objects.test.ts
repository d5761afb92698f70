import { expect, test } from "vitest";
import { defaultsOf, type KubernetesConfig } from "#provider/kubernetes/config.ts";
import { infrastructureObjects } from "#provider/kubernetes/infrastructure.ts";
import { namespaceRules, type PolicyRule } from "#provider/kubernetes/permissions.ts";

/** What a namespace is made of, by kind and name. */
function names(config: KubernetesConfig, namespace = config.namespace): string[] {
  return infrastructureObjects(config, namespace).map(
    ({ kind, metadata }) => `${kind} ${metadata.name}`,
  );
}

function find(config: KubernetesConfig, kind: string, name?: string) {
  return infrastructureObjects(config, config.namespace).find(
    (object) => object.kind === kind && (name === undefined || object.metadata.name === name),
  );
}

const standard = defaultsOf("standard");

test("a worker namespace carries the standard names", () => {
  expect(names(standard)).toEqual([
    "Namespace hodei-jobs-workers",
    "ServiceAccount hodei-jobs-worker",
    "Role hodei-jobs-worker-role",
    "RoleBinding hodei-jobs-worker-binding",
    "ResourceQuota hodei-jobs-workers-quota",
    "LimitRange hodei-jobs-workers-limits",
    "NetworkPolicy hodei-jobs-workers-default-deny",
    "NetworkPolicy hodei-jobs-workers-netpol",
  ]);
});

test("a worker namespace carries the legacy names, and enforces baseline", () => {
  const config = defaultsOf("legacy");
  expect(names(config)).toEqual([
    "Namespace hodei-workers",
    "ServiceAccount hodei-worker",
    "Role hodei-provider",
    "RoleBinding hodei-provider",
    "LimitRange hodei-workers-limits",
    "NetworkPolicy hodei-workers-default-deny",
    "NetworkPolicy hodei-workers-egress",
  ]);
  const labels = find(config, "Namespace")?.metadata.labels;
  expect(labels?.["pod-security.kubernetes.io/enforce"]).toBe("baseline");
});

test("the namespace enforces, audits and warns at its level", () => {
  expect(find(standard, "Namespace")?.metadata.labels).toMatchObject({
    "hodei.io/managed": "true",
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
    "pod-security.kubernetes.io/audit": "restricted",
    "pod-security.kubernetes.io/warn": "restricted",
  });
});

test("the service account mounts no token and knows the pull secrets", () => {
  const config = { ...standard, imagePullSecrets: ["regcred"] };
  expect(find(config, "ServiceAccount")).toMatchObject({
    automountServiceAccountToken: false,
    imagePullSecrets: [{ name: "regcred" }],
  });
});

test("the role is the control plane's, and gives it no more than it uses", () => {
  expect(find(standard, "RoleBinding")).toMatchObject({
    subjects: [{ kind: "ServiceAccount", name: "hodei-control-plane", namespace: "hodei-system" }],
    roleRef: { name: "hodei-jobs-worker-role" },
  });
  const text = JSON.stringify(find(standard, "Role"));
  expect(text).not.toMatch(/exec|deletecollection|\*|escalate|roles/);
});

test("worker pods get the role of early deployments only when that is asked for, and never Secrets", () => {
  const config = { ...standard, bindWorkerRole: true };
  expect(find(config, "RoleBinding", "hodei-jobs-worker-binding")).toMatchObject({
    subjects: [
      { kind: "ServiceAccount", name: "hodei-jobs-worker", namespace: "hodei-jobs-workers" },
    ],
  });
  const role = find(config, "Role", "hodei-jobs-worker-role");
  expect(role?.["rules"]).toEqual([
    {
      apiGroups: [""],
      resources: ["pods", "pods/log", "pods/exec"],
      verbs: ["get", "list", "watch", "create", "delete", "deletecollection"],
    },
    { apiGroups: [""], resources: ["pods/status"], verbs: ["get", "update", "patch"] },
  ]);
  expect(find(config, "RoleBinding", "hodei-jobs-control-binding")).toMatchObject({
    subjects: [{ name: "hodei-control-plane" }],
  });
});

test("the cluster role for namespaces of workers holds every right that the roles of namespaces give", () => {
  const config = { ...standard, bindWorkerRole: true, imagePullSecrets: ["a"], attestation: true };
  const held = new Set(
    namespaceRules(config).flatMap(({ apiGroups, resources, verbs }) =>
      verbs.map((verb) => `${verb} ${apiGroups.join()}/${resources.join()}`),
    ),
  );
  const given = infrastructureObjects(config, "x")
    .filter(({ kind }) => kind === "Role")
    .flatMap((role) => role["rules"] as PolicyRule[])
    .flatMap(({ apiGroups, resources, verbs }) =>
      resources.flatMap((resource) =>
        verbs.map((verb) => `${verb} ${apiGroups.join()}/${resource}`),
      ),
    );
  expect(given.length).toBeGreaterThan(20);
  expect(given.filter((right) => !held.has(right))).toEqual([]);
});

test("a server outside the cluster is a user, and an address", () => {
  const controlPlane = { ...standard.controlPlane, user: "hodei", cidrs: ["192.0.2.10/32"] };
  const config = { ...standard, controlPlane };
  expect(find(config, "RoleBinding")).toMatchObject({
    subjects: [{ kind: "User", name: "hodei" }],
  });
  const policy = JSON.stringify(find(config, "NetworkPolicy", "hodei-jobs-workers-netpol"));
  expect(policy).toContain('{"ipBlock":{"cidr":"192.0.2.10/32"}}');
  expect(policy).not.toContain("hodei-system");
});

test("nothing comes in, and only names, the server and the public web are reached", () => {
  expect(find(standard, "NetworkPolicy", "hodei-jobs-workers-default-deny")).toMatchObject({
    spec: { podSelector: {}, policyTypes: ["Ingress", "Egress"] },
  });
  expect(find(standard, "NetworkPolicy", "hodei-jobs-workers-netpol")?.["spec"]).toEqual({
    podSelector: {},
    policyTypes: ["Egress"],
    egress: [
      {
        to: [
          {
            namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "kube-system" } },
          },
          { ipBlock: { cidr: "169.254.20.10/32" } },
        ],
        ports: [
          { protocol: "UDP", port: 53 },
          { protocol: "TCP", port: 53 },
        ],
      },
      {
        to: [
          {
            namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "hodei-system" } },
            podSelector: { matchLabels: standard.controlPlane.podLabels },
          },
        ],
        ports: [{ protocol: "TCP", port: 50051 }],
      },
      {
        to: [
          {
            ipBlock: {
              cidr: "0.0.0.0/0",
              except: [
                "10.0.0.0/8",
                "100.64.0.0/10",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.168.0.0/16",
              ],
            },
          },
          { ipBlock: { cidr: "::/0", except: ["fc00::/7", "fe80::/10"] } },
        ],
        ports: [{ protocol: "TCP", port: 443 }],
      },
    ],
  });
});

test("the public web can be left out", () => {
  const networkPolicy = { ...standard.networkPolicy, allowHttps: false };
  const policy = find({ ...standard, networkPolicy }, "NetworkPolicy", "hodei-jobs-workers-netpol");
  expect(JSON.stringify(policy)).not.toContain("443");
});

test("quota and limits can be switched off, and the image pulled ahead only at home", () => {
  const config = {
    ...standard,
    quota: { ...standard.quota, isEnabled: false },
    limitRange: { ...standard.limitRange, isEnabled: false },
    prePullImage: true,
  };
  expect(names(config).join()).not.toMatch(/Quota|LimitRange/);
  expect(names(config).at(-1)).toBe("DaemonSet hodei-jobs-workers-pre-pull");
  expect(names(config, "hodei-tenant-a").join()).not.toContain("DaemonSet");
});

test("a tenant's namespace names its tenant", () => {
  const [namespace] = infrastructureObjects(standard, "hodei-tenant-acme", "acme");
  expect(namespace?.metadata).toMatchObject({
    name: "hodei-tenant-acme",
    labels: { "hodei.io/tenant-id": "acme", "hodei.io/tenant-namespace": "true" },
  });
});
