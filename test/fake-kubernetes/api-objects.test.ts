import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { startKubernetes, type KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { call, podBody, type Reply } from "./api-call.ts";

let double: KubernetesDouble;
beforeEach(async () => {
  double = await startKubernetes({ tls: false, anonymousAdmin: true });
});
afterEach(() => double[Symbol.asyncDispose]());

const pods = "/api/v1/namespaces/default/pods";
const maps = "/api/v1/namespaces/default/configmaps";
const post = (path: string, body: unknown): Promise<Reply> => call(double, "POST", path, { body });
const put = (path: string, body: unknown): Promise<Reply> => call(double, "PUT", path, { body });
const patch = (path: string, body: unknown, type = "merge"): Promise<Reply> =>
  call(double, "PATCH", path, {
    body,
    headers: { "content-type": `application/${type}-patch+json` },
  });
const mapBody = (data: object, name = "c"): object => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name },
  data,
});

describe("what does not fit is refused", () => {
  const container = { name: "worker", image: "a:1" };
  test.for<[string, object, string]>([
    ["no containers", { containers: [] }, "spec.containers"],
    ["no image", { containers: [{ name: "a" }] }, "spec.containers[0].image"],
    ["no name", { containers: [{ image: "a" }] }, "spec.containers[0].name"],
    ["two of a name", { containers: [container, container] }, "spec.containers[1].name"],
    ["upper case", { containers: [{ ...container, name: "A" }] }, "spec.containers[0].name"],
    [
      "a pull policy",
      { containers: [{ ...container, imagePullPolicy: "No" }] },
      "spec.containers[0].imagePullPolicy",
    ],
    [
      "a mount of nothing",
      { containers: [{ ...container, volumeMounts: [{ name: "v", mountPath: "/v" }] }] },
      "spec.containers[0].volumeMounts[0].name",
    ],
    [
      "a restart policy",
      { containers: [container], restartPolicy: "Perhaps" },
      "spec.restartPolicy",
    ],
    [
      "no deadline",
      { containers: [container], activeDeadlineSeconds: 0 },
      "spec.activeDeadlineSeconds",
    ],
    [
      "two volume kinds",
      {
        containers: [container],
        volumes: [{ name: "v", emptyDir: {}, secret: { secretName: "s" } }],
      },
      "spec.volumes[0].secret",
    ],
    [
      "an unknown resource",
      { containers: [{ ...container, resources: { limits: { gpu: "1" } } }] },
      "spec.containers[0].resources.limits[gpu]",
    ],
    [
      "half a gpu",
      { containers: [{ ...container, resources: { limits: { "nvidia.com/gpu": "500m" } } }] },
      "spec.containers[0].resources.limits[nvidia.com/gpu]",
    ],
    [
      "a toleration",
      { containers: [container], tolerations: [{ key: "a", operator: "Exists", value: "b" }] },
      "spec.tolerations[0].operator",
    ],
    [
      "a node label",
      { containers: [container], nodeSelector: { "a b": "c" } },
      "spec.nodeSelector",
    ],
  ])("a pod with %s", async ([, spec, field]) => {
    const reply = await post(pods, podBody("a", spec));
    expect(reply).toMatchObject({ status: 422, body: { reason: "Invalid" } });
    expect(reply.body.details?.causes?.map((one) => one.field)).toContain(field);
  });

  test.for<[string, object, RegExp]>([
    [
      "a number for a text",
      { containers: [{ ...container, env: [{ name: "A", value: 1 }] }] },
      /cannot unmarshal number .* of type string/,
    ],
    [
      "a text for a number",
      { containers: [container], activeDeadlineSeconds: "5" },
      /cannot unmarshal string/,
    ],
    [
      "no quantity",
      { containers: [{ ...container, resources: { limits: { cpu: "much" } } }] },
      /quantities must match/,
    ],
  ])("a pod with %s does not even decode", async ([, spec, message]) => {
    const reply = await post(pods, podBody("a", spec));
    expect(reply).toMatchObject({ status: 400, body: { reason: "BadRequest" } });
    expect(reply.body.message).toMatch(message);
  });

  test.for<[string, string, object, RegExp]>([
    [
      "a label value",
      "configmaps",
      { labels: { a: "b c" } },
      /metadata.labels: Invalid value: "b c"/,
    ],
    [
      "a label prefix",
      "configmaps",
      { labels: { "A_/b": "c" } },
      /prefix part a lowercase RFC 1123/,
    ],
    ["an annotation", "configmaps", { annotations: { "a b": "c" } }, /metadata.annotations/],
    ["a long name", "configmaps", { name: "a".repeat(254) }, /must be no more than 253 characters/],
    ["no name", "configmaps", { name: "" }, /name or generateName is required/],
  ])("%s", async ([, resource, metadata, message]) => {
    const reply = await post(`/api/v1/namespaces/default/${resource}`, {
      metadata: { name: "x", ...metadata },
    });
    expect(reply.status).toBe(422);
    expect(reply.body.message).toMatch(message);
  });

  test("a namespace with a dot in its name", async () => {
    const reply = await post("/api/v1/namespaces", { metadata: { name: "a.b" } });
    expect(reply).toMatchObject({ status: 422, body: { details: { kind: "Namespace" } } });
  });

  test("base64 that is none", async () => {
    const body = { metadata: { name: "s" }, data: { a: "%%" } };
    const reply = await post("/api/v1/namespaces/default/secrets", body);
    expect(reply.body.message).toContain("illegal base64 data at input byte 0");
  });

  test("paths, methods and kinds that are not served", async () => {
    expect((await call(double, "GET", "/apis/nope/v1/things")).status).toBe(404);
    expect((await call(double, "GET", "/nope")).status).toBe(404);
    expect((await call(double, "PUT", pods, { body: {} })).status).toBe(405);
    expect((await post(pods, { apiVersion: "v1", kind: "Secret" })).status).toBe(400);
    const headers = { "content-type": "application/xml" };
    expect((await call(double, "POST", pods, { body: "<a/>", headers })).status).toBe(415);
  });

  test("a change of a running pod, a role's reference, a deployment's selector", async () => {
    await post(pods, podBody("a"));
    const moved = await patch(`${pods}/a`, { spec: { restartPolicy: "Always" } });
    expect(moved).toMatchObject({
      status: 422,
      body: { details: { causes: [{ field: "spec" }] } },
    });
    expect((await patch(`${pods}/a`, { spec: { activeDeadlineSeconds: 5 } })).status).toBe(200);
    const group = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "view" };
    expect((await post(group, { metadata: { name: "b" }, roleRef })).status).toBe(201);
    const other = await patch(`${group}/b`, { roleRef: { name: "edit" } });
    expect(other.body.message).toContain("cannot change roleRef");
  });
});

describe("writes", () => {
  test("a made name is the prefix with five letters", async () => {
    const reply = await post(maps, { metadata: { generateName: "a-" } });
    expect(reply.body.metadata?.name).toMatch(/^a-[0-9a-f]{5}$/);
  });

  test("quantities come back in their short form", async () => {
    const resources = { limits: { cpu: "1000m", memory: "1024Mi" } };
    const reply = await post(
      pods,
      podBody("a", { containers: [{ name: "a", image: "a", resources }] }),
    );
    expect(JSON.stringify(reply.body)).toContain('"limits":{"cpu":"1","memory":"1Gi"}');
    expect(reply.body["status"]).toMatchObject({ qosClass: "Guaranteed" });
  });

  test("only the last known version may be replaced", async () => {
    const { body } = await post(maps, mapBody({ a: "1" }));
    const next = { ...body, data: { a: "2" } };
    expect((await put(`${maps}/c`, next)).status).toBe(200);
    expect(await put(`${maps}/c`, next)).toMatchObject({
      status: 409,
      body: { reason: "Conflict" },
    });
  });

  test("patches: merge, strategic and JSON", async () => {
    await post(maps, mapBody({ a: "1", b: "2" }));
    const merged = await patch(`${maps}/c`, { data: { a: null, c: "3" } });
    expect(merged.body["data"]).toEqual({ b: "2", c: "3" });
    const operations = [{ op: "add", path: "/metadata/labels", value: { x: "y" } }];
    const labelled = await patch(`${maps}/c`, operations, "json");
    expect(labelled.body.metadata?.labels).toEqual({ x: "y" });
    await post(pods, podBody("a"));
    const image = { spec: { containers: [{ name: "worker", image: "b" }] } };
    const strategic = await patch(`${pods}/a`, image, "strategic-merge");
    expect(strategic.body["spec"]).toMatchObject({
      containers: [{ image: "b", command: ["true"] }],
    });
  });

  test("a patch that changes nothing writes nothing", async () => {
    const { body } = await post(maps, mapBody({ a: "1" }));
    const again = await patch(`${maps}/c`, { data: { a: "1" } });
    expect(again.body.metadata?.resourceVersion).toBe(body.metadata?.resourceVersion);
  });

  test("the status is only written through its own path", async () => {
    await post(pods, podBody("a"));
    const ignored = await patch(`${pods}/a`, { status: { phase: "Running" } });
    expect(ignored.body["status"]).toMatchObject({ phase: "Pending" });
    const written = await patch(`${pods}/a/status`, { status: { phase: "Running" } });
    expect(written.body["status"]).toMatchObject({ phase: "Running" });
  });

  test("a dry run stores nothing", async () => {
    const reply = await post(`${maps}?dryRun=All`, mapBody({}));
    expect(reply.status).toBe(201);
    expect(reply.body.metadata?.resourceVersion).toBeUndefined();
    expect((await call(double, "GET", `${maps}/c`)).status).toBe(404);
  });
});

describe("deletes", () => {
  test("wants the uid that it was told", async () => {
    const { body } = await post(pods, podBody("a"));
    const wrong = await call(double, "DELETE", `${pods}/a`, {
      body: { preconditions: { uid: "x" } },
    });
    expect(wrong).toMatchObject({ status: 409, body: { reason: "Conflict" } });
    expect(wrong.body.message).toContain(
      `does not match the UID in record (${body.metadata?.uid})`,
    );
    const right = await call(double, "DELETE", `${pods}/a`, {
      body: {
        preconditions: { uid: body.metadata?.uid },
        gracePeriodSeconds: 0,
        propagationPolicy: "Background",
      },
    });
    expect(right).toMatchObject({ status: 200, body: { kind: "Pod" } });
  });

  test("a pod on a node stays until its kubelet lets go", async () => {
    await post(pods, podBody("a"));
    await call(double, "POST", `${pods}/a/binding`, {
      body: { target: { kind: "Node", name: "n" } },
    });
    const marked = await call(double, "DELETE", `${pods}/a`);
    expect(marked.body.metadata).toMatchObject({ deletionGracePeriodSeconds: 3, generation: 2 });
    expect((await call(double, "GET", `${pods}/a`)).status).toBe(200);
    await call(double, "DELETE", `${pods}/a`, { body: { gracePeriodSeconds: 0 } });
    expect((await call(double, "GET", `${pods}/a`)).status).toBe(404);
  });

  test("a finalizer holds, and its end lets go", async () => {
    await post(maps, { metadata: { name: "c", finalizers: ["a.b/c"] } });
    expect(
      (await call(double, "DELETE", `${maps}/c`)).body.metadata?.deletionTimestamp,
    ).toBeDefined();
    await patch(`${maps}/c`, { metadata: { finalizers: null } });
    expect((await call(double, "GET", `${maps}/c`)).status).toBe(404);
  });

  test("a collection goes by label, and a Status tells of the rest", async () => {
    for (const name of ["a", "b"]) await post(maps, { metadata: { name, labels: { name } } });
    const reply = await call(double, "DELETE", `${maps}?labelSelector=name%3Da`);
    expect(reply.body.items).toHaveLength(1);
    expect((await call(double, "DELETE", `${maps}/b`)).body).toMatchObject({
      kind: "Status",
      status: "Success",
      details: { name: "b" },
    });
  });
});
