import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { startKubernetes, type KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { applyHeaders, call, mergeHeaders, type Reply } from "./api-call.ts";

let double: KubernetesDouble;
beforeEach(async () => {
  double = await startKubernetes({ tls: false, anonymousAdmin: true });
});
afterEach(() => double[Symbol.asyncDispose]());

const maps = "/api/v1/namespaces/default/configmaps";
const apply = (path: string, body: object): Promise<Reply> =>
  call(double, "PATCH", path, { body, headers: applyHeaders });
const mapBody = (data: object, name = "c"): object => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name },
  data,
});

describe("server-side apply", () => {
  const path = `${maps}/c?fieldManager=one`;

  test("takes away what its manager leaves out, and nothing of others", async () => {
    await apply(path, mapBody({ a: "1", b: "2" }));
    await call(double, "PATCH", `${maps}/c`, { body: { data: { z: "9" } }, headers: mergeHeaders });
    const reply = await apply(path, mapBody({ a: "1" }));
    expect(reply.body["data"]).toEqual({ a: "1", z: "9" });
  });

  test("shares what two managers want alike, and tells all conflicts", async () => {
    await apply(path, mapBody({ a: "1", b: "2" }));
    expect((await apply(`${maps}/c?fieldManager=two`, mapBody({ a: "1" }))).status).toBe(200);
    const refused = await apply(`${maps}/c?fieldManager=two`, mapBody({ a: "3", b: "3" }));
    expect(refused.body.message).toBe(
      'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b',
    );
    const managers = (await call(double, "GET", `${maps}/c`)).body.metadata?.managedFields;
    expect(managers?.map(({ manager }) => manager)).toEqual(["one", "two"]);
  });

  test("wants a manager, knows its fields, and no managedFields", async () => {
    expect((await apply(`${maps}/c`, mapBody({}))).status).toBe(422);
    expect((await apply(path, { ...mapBody({}), nope: 1 })).body.message).toContain(
      ".nope: field not declared in schema",
    );
    const given = { ...mapBody({}), metadata: { name: "c", managedFields: [] } };
    expect((await apply(path, given)).status).toBe(400);
  });

  test.for<[string, string, object]>([
    [
      "networkpolicies",
      "networking.k8s.io/v1",
      {
        spec: {
          podSelector: {},
          policyTypes: ["Egress"],
          egress: [{ ports: [{ port: 53, protocol: "UDP" }] }],
        },
      },
    ],
    ["limitranges", "v1", { spec: { limits: [{ type: "Container", default: { cpu: "1000m" } }] } }],
    ["resourcequotas", "v1", { spec: { hard: { "requests.memory": "2048Mi" } } }],
    ["secrets", "v1", { stringData: { a: "b" }, immutable: true }],
    [
      "serviceaccounts",
      "v1",
      { automountServiceAccountToken: false, imagePullSecrets: [{ name: "p" }] },
    ],
    [
      "roles",
      "rbac.authorization.k8s.io/v1",
      { rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }] },
    ],
    [
      "rolebindings",
      "rbac.authorization.k8s.io/v1",
      {
        subjects: [{ kind: "ServiceAccount", name: "a", namespace: "b" }],
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "r" },
      },
    ],
  ])("applying the same %s again makes no write", async ([resource, apiVersion, content]) => {
    const kinds: Record<string, string> = {
      networkpolicies: "NetworkPolicy",
      limitranges: "LimitRange",
      resourcequotas: "ResourceQuota",
      secrets: "Secret",
      serviceaccounts: "ServiceAccount",
      roles: "Role",
      rolebindings: "RoleBinding",
    };
    const base = apiVersion === "v1" ? "/api/v1" : `/apis/${apiVersion}`;
    const body = {
      apiVersion,
      kind: kinds[resource],
      metadata: { name: "x", labels: { a: "b" } },
      ...content,
    };
    const target = `${base}/namespaces/default/${resource}/x?fieldManager=one`;
    const first = await apply(target, body);
    expect(first.status).toBe(201);
    const before = double.objects.revision;
    expect((await apply(target, body)).status).toBe(200);
    expect(double.objects.revision).toBe(before);
  });
});
