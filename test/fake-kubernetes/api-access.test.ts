import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { startKubernetes, type KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { call, podBody } from "./api-call.ts";

let double: KubernetesDouble;
beforeEach(async () => {
  double = await startKubernetes({ tls: false });
});
afterEach(() => double[Symbol.asyncDispose]());

const pods = "/api/v1/namespaces/default/pods";
const rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
const rule = { apiGroups: [""], resources: ["pods"], verbs: ["create", "get"] };

describe("who may do what", () => {
  test("nobody without a name, 401 for a token that nobody has", async () => {
    expect((await call(double, "GET", pods)).body.message).toContain('User "system:anonymous"');
    const stranger = { name: "x", token: "no" };
    expect(await call(double, "GET", pods, { as: stranger })).toMatchObject({
      status: 401,
      body: { reason: "Unauthorized" },
    });
    expect((await call(double, "GET", "/version")).status).toBe(200);
  });

  test("an account has the rules that are bound to it, where they are bound", async () => {
    const account = double.serviceAccount("default", "worker");
    double.grant({ namespace: "default", name: "worker" }, [rule], "default");
    expect((await call(double, "POST", pods, { body: podBody("a"), as: account })).status).toBe(
      201,
    );
    const other = "/api/v1/namespaces/kube-system/pods";
    expect((await call(double, "POST", other, { body: podBody("a"), as: account })).status).toBe(
      403,
    );
    const log = await call(double, "GET", `${pods}/a/log`, { as: account });
    expect(log.body.message).toBe(
      'pods "a" is forbidden: User "system:serviceaccount:default:worker" cannot get resource "pods/log" in API group "" in the namespace "default"',
    );
    const named = await call(double, "DELETE", `${pods}/a`, { as: account });
    expect(named.body.message).toContain('cannot delete resource "pods"');
  });

  test("rules may name objects", async () => {
    const account = double.serviceAccount("default", "one", [
      {
        apiGroups: [""],
        resources: ["configmaps"],
        resourceNames: ["kube-root-ca.crt"],
        verbs: ["get"],
      },
    ]);
    const maps = "/api/v1/namespaces/default/configmaps";
    expect((await call(double, "GET", `${maps}/kube-root-ca.crt`, { as: account })).status).toBe(
      200,
    );
    expect((await call(double, "GET", `${maps}/other`, { as: account })).status).toBe(403);
  });

  test("nobody grants what he does not hold, unless he may escalate or bind", async () => {
    const roles = {
      apiGroups: ["rbac.authorization.k8s.io"],
      resources: ["roles", "rolebindings"],
      verbs: ["create"],
    };
    const account = double.serviceAccount("default", "control", [roles]);
    const role = { metadata: { name: "r" }, rules: [rule] };
    const refused = await call(double, "POST", `${rbac}/roles`, { body: role, as: account });
    expect(refused.body.message).toContain(
      '{APIGroups:[""], Resources:["pods"], Verbs:["create" "get"]}',
    );
    const may = { ...roles, resources: ["roles"], verbs: ["escalate", "bind"] };
    double.grant({ namespace: "default", name: "control" }, [may], "default");
    expect((await call(double, "POST", `${rbac}/roles`, { body: role, as: account })).status).toBe(
      201,
    );
    const binding = {
      metadata: { name: "b" },
      subjects: [{ kind: "ServiceAccount", name: "x", namespace: "default" }],
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "r" },
    };
    expect(
      (await call(double, "POST", `${rbac}/rolebindings`, { body: binding, as: account })).status,
    ).toBe(201);
  });

  test("a token ends with its pod and tells of it", async () => {
    const { admin: as } = double;
    await call(double, "POST", pods, { body: podBody("a"), as });
    const uid = double.objects.get("pods", "a", "default")?.metadata.uid;
    const path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    const spec = {
      audiences: ["hodei"],
      boundObjectRef: { kind: "Pod", apiVersion: "v1", name: "a", uid },
    };
    const made = await call(double, "POST", path, { body: { spec }, as });
    expect(made.status).toBe(201);
    const { token } = made.body["status"] as { token: string };
    const review = async (): Promise<unknown> => {
      const body = { spec: { token, audiences: ["hodei"] } };
      return (
        await call(double, "POST", "/apis/authentication.k8s.io/v1/tokenreviews", { body, as })
      ).body["status"];
    };
    expect(await review()).toMatchObject({
      authenticated: true,
      user: { extra: { "authentication.kubernetes.io/pod-uid": [uid] } },
    });
    await call(double, "DELETE", `${pods}/a`, { as });
    expect(await review()).not.toHaveProperty("authenticated");
    expect(
      (await call(double, "POST", path, { body: { spec: { expirationSeconds: 5 } }, as })).status,
    ).toBe(422);
  });
});

describe("what admission adds and refuses", () => {
  const admin = (): { as: KubernetesDouble["admin"] } => ({ as: double.admin });

  test("a pod gets its account's token and pull secrets", async () => {
    double.objects.mutate(
      "serviceaccounts",
      { name: "default", namespace: "default" },
      (account) => {
        account.imagePullSecrets = [{ name: "registry" }];
      },
    );
    const body = podBody("a", { automountServiceAccountToken: true });
    const reply = await call(double, "POST", pods, { body, ...admin() });
    expect(reply.body["spec"]).toMatchObject({
      imagePullSecrets: [{ name: "registry" }],
      volumes: [{ projected: { sources: [{ serviceAccountToken: { path: "token" } }, {}, {}] } }],
    });
  });

  test.for<[string, object, string]>([
    ["baseline", { hostNetwork: true }, "host namespaces (hostNetwork=true)"],
    [
      "baseline",
      { volumes: [{ name: "v", hostPath: { path: "/" } }] },
      'hostPath volumes (volume "v")',
    ],
    [
      "baseline",
      { containers: [{ name: "c", image: "a", securityContext: { privileged: true } }] },
      'privileged (container "c" must not set securityContext.privileged=true)',
    ],
    [
      "baseline",
      {
        containers: [
          { name: "c", image: "a", securityContext: { capabilities: { add: ["SYS_ADMIN"] } } },
        ],
      },
      'non-default capabilities (container "c" must not include "SYS_ADMIN" in securityContext.capabilities.add)',
    ],
    [
      "restricted",
      { securityContext: { runAsUser: 0 } },
      "runAsUser=0 (pod must not set runAsUser=0)",
    ],
    [
      "restricted",
      { volumes: [{ name: "v", hostPath: { path: "/" } }] },
      'restricted volume types (volume "v" uses restricted volume type "hostPath")',
    ],
    [
      "restricted",
      { securityContext: { runAsNonRoot: false } },
      "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
    ],
  ])("%s refuses %j", async ([level, spec, text]) => {
    double.addNamespace("strict", { "pod-security.kubernetes.io/enforce": level });
    const reply = await call(double, "POST", "/api/v1/namespaces/strict/pods", {
      body: podBody("a", spec),
      ...admin(),
    });
    expect(reply).toMatchObject({ status: 403, body: { reason: "Forbidden" } });
    expect(reply.body.message).toContain(`violates PodSecurity "${level}:latest"`);
    expect(reply.body.message).toContain(text);
  });

  test("a level to warn of lets the pod through with a warning", async () => {
    double.addNamespace("loud", { "pod-security.kubernetes.io/warn": "restricted" });
    const reply = await call(double, "POST", "/api/v1/namespaces/loud/pods", {
      body: podBody("a"),
      ...admin(),
    });
    expect(reply.status).toBe(201);
    expect(reply.headers.get("warning")).toContain("would violate PodSecurity");
  });

  test("a quota wants amounts, counts what there is, and lets the next one in after the end", async () => {
    const quota = {
      metadata: { name: "q" },
      spec: { hard: { "limits.memory": "1Gi", "count/secrets": "1" } },
    };
    await call(double, "POST", "/api/v1/namespaces/default/resourcequotas", {
      body: quota,
      ...admin(),
    });
    const none = await call(double, "POST", pods, { body: podBody("a"), ...admin() });
    expect(none.body.message).toBe(
      'pods "a" is forbidden: failed quota: q: must specify limits.memory for: worker',
    );
    const body = (name: string): object =>
      podBody(name, {
        containers: [{ name: "c", image: "a", resources: { limits: { memory: "768Mi" } } }],
      });
    expect((await call(double, "POST", pods, { body: body("a"), ...admin() })).status).toBe(201);
    const second = await call(double, "POST", pods, { body: body("b"), ...admin() });
    expect(second.body.message).toBe(
      'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=768Mi, used: limits.memory=768Mi, limited: limits.memory=1Gi',
    );
    await call(double, "DELETE", `${pods}/a`, admin());
    expect((await call(double, "POST", pods, { body: body("b"), ...admin() })).status).toBe(201);
    const secrets = "/api/v1/namespaces/default/secrets";
    expect(
      (await call(double, "POST", secrets, { body: { metadata: { name: "a" } }, ...admin() }))
        .status,
    ).toBe(201);
    expect(
      (await call(double, "POST", secrets, { body: { metadata: { name: "b" } }, ...admin() }))
        .status,
    ).toBe(403);
  });

  test("an eviction marks the pod, and a budget refuses it", async () => {
    await call(double, "POST", pods, {
      body: podBody("a", {}, { labels: { a: "b" } }),
      ...admin(),
    });
    const eviction = { body: { metadata: { name: "a" } }, ...admin() };
    const budget = {
      metadata: { name: "p" },
      spec: { minAvailable: 1, selector: { matchLabels: { a: "b" } } },
    };
    const budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    await call(double, "POST", budgets, { body: budget, ...admin() });
    expect(await call(double, "POST", `${pods}/a/eviction`, eviction)).toMatchObject({
      status: 429,
    });
    await call(double, "DELETE", `${budgets}/p`, admin());
    expect(await call(double, "POST", `${pods}/a/eviction`, eviction)).toMatchObject({
      status: 201,
      body: { status: "Success" },
    });
  });
});
