import { afterEach, beforeEach, expect, test } from "vitest";

import type { KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { startKubernetes } from "../fake/kubernetes/kubernetes.ts";
import {
  applyHeaders,
  call,
  podBody,
  readCalls,
  readWatch,
  watchUntil,
  type Reply,
} from "./api-call.ts";

let double: KubernetesDouble;

beforeEach(async () => {
  double = await startKubernetes({ tls: false, anonymousAdmin: true });
  for (const name of ["rec", "rec-quota"]) double.addNamespace(name);
  double.addNamespace("rec-restricted", { "pod-security.kubernetes.io/enforce": "restricted" });
  await made("/api/v1/namespaces/rec/secrets", {
    metadata: { name: "otp" },
    immutable: true,
    stringData: { token: "one-time" },
  });
  await made("/api/v1/namespaces/rec-quota/resourcequotas", {
    metadata: { name: "q" },
    spec: { hard: { pods: "1", "requests.cpu": "1", "requests.memory": "1Gi" } },
  });
  await made("/api/v1/namespaces/rec-quota/limitranges", {
    metadata: { name: "l" },
    spec: {
      limits: [
        {
          type: "Container",
          max: { cpu: "2", memory: "2Gi" },
          default: { cpu: "500m", memory: "256Mi" },
          defaultRequest: { cpu: "100m", memory: "128Mi" },
        },
      ],
    },
  });
  await made("/api/v1/namespaces/rec/serviceaccounts", { metadata: { name: "control" } });
  const group = "/apis/rbac.authorization.k8s.io/v1";
  await made(`${group}/clusterroles`, {
    metadata: { name: "rec-roles" },
    rules: [
      {
        apiGroups: ["rbac.authorization.k8s.io"],
        resources: ["roles", "rolebindings"],
        verbs: ["create", "get", "patch"],
      },
    ],
  });
  await made(`${group}/clusterrolebindings`, {
    metadata: { name: "rec-roles" },
    subjects: [{ kind: "ServiceAccount", name: "control", namespace: "rec" }],
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "rec-roles" },
  });
});

afterEach(() => double[Symbol.asyncDispose]());

async function made(path: string, body: object): Promise<void> {
  expect(await call(double, "POST", path, { body })).toMatchObject({ status: 201 });
}

/** Who the recorded call was made as, which the recording does not say itself. */
function headersOf(topic: string, label: string): Record<string, string> {
  if (topic === "server-side-apply")
    return label === "bad content type" ? {} : applyHeadersOf(label);
  const control = "system:serviceaccount:rec:control";
  if (/^(escalation|binding)/.test(label)) {
    return { "impersonate-user": control, "impersonate-group": "system:serviceaccounts" };
  }
  if (/^rbac|review, no/.test(label)) {
    return { "impersonate-user": "system:serviceaccount:rec:default" };
  }
  return {};
}

function applyHeadersOf(label: string): Record<string, string> {
  return /put|delete|create in/.test(label) ? {} : applyHeaders;
}

/** What is another one each time: ids, times, revisions, tokens. */
function stable(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (key, inner: unknown) => {
      // The recorded namespace controller came a moment later.
      const isNamespaceCondition =
        key === "conditions" && JSON.stringify(inner).includes("Namespace");
      if (key === "managedFields" || isNamespaceCondition) return undefined;
      const isOther = /^(uid|resourceVersion|creationTimestamp|deletionTimestamp|token)$/.test(key);
      if (isOther) return `<${key}>`;
      if (key === "authentication.kubernetes.io/credential-id") return "<id>";
      return inner;
    }),
  );
}

test.each(["denied", "server-side-apply", "rbac-and-tokens"])(
  "answers the recorded calls about %s as a real server did",
  async (topic) => {
    let token = "";
    let lastVersion = "";
    for (const recorded of readCalls(topic)) {
      const { label, method, path, request, status, response } = recorded;
      const spec = request as { spec?: { token?: string } } | undefined;
      if (spec?.spec?.token !== undefined && spec.spec.token !== "x.y.z") {
        token ||= double.tokens.issue({
          namespace: "rec",
          serviceAccount: "default",
          audiences: ["hodei"],
          expirationSeconds: 600,
        });
        spec.spec.token = token;
      }
      // What only the recorded cluster did on its own.
      if (label === "create in terminating namespace") keepTerminating();
      const reply: Reply = await call(double, method, path, {
        body: request,
        headers: headersOf(topic, label),
      });
      expect({ label, status: reply.status }).toEqual({ label, status });
      const [got, wanted] = [stable(reply.body), stable(response)];
      expect({ label, body: got }).toEqual({ label, body: wanted });
      const version = reply.body.metadata?.resourceVersion ?? "";
      if (label.startsWith("same again")) expect(version).toBe(lastVersion);
      if (label === "force") expect(version).not.toBe(lastVersion);
      lastVersion = version;
      if (label === "namespace with labels") holdNamespace();
    }
  },
);

/** A real namespace goes later; here it is held by a pod that has not gone yet. */
function holdNamespace(): void {
  double.objects.create("pods", {
    metadata: { name: "held", namespace: "rec-applied", finalizers: ["hodei.io/test"] },
    spec: { containers: [] },
  });
}

function keepTerminating(): void {
  const namespace = double.objects.get("namespaces", "rec-applied");
  expect(namespace?.metadata.deletionTimestamp).toBeDefined();
}

test("a watch from a forgotten revision is told that it is too old", async () => {
  double.compact();
  const recorded = readWatch().find(({ label }) => label === "resourceVersion=1");
  const path = "/api/v1/namespaces/rec/pods?watch=1&resourceVersion=1";
  const [event] = await watchUntil(double, path, () => false);
  const numbers = (text: unknown): string => JSON.stringify(text).replace(/\(\d+\)/, "(n)");
  expect(numbers(event)).toBe(numbers({ type: recorded?.type, object: recorded?.object }));
});

test.each([
  ["bookmarks", "allowWatchBookmarks=true&resourceVersion=0"],
  [
    "sendInitialEvents",
    "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
  ],
])("a watch with %s begins as the recorded one did", async (label, query) => {
  const recorded = readWatch()
    .filter((one) => one.label === label)
    .slice(0, 2);
  const path = `/api/v1/namespaces/rec/pods?watch=1&${query}`;
  const events = watchUntil(double, path, (all) => all.length >= 2);
  await expect.poll(() => double.watches.count).toBe(1);
  const body = podBody("w", {
    containers: [
      {
        name: "worker",
        image: "alpine:latest",
        imagePullPolicy: "IfNotPresent",
        command: ["sleep", "2"],
      },
    ],
  });
  await made("/api/v1/namespaces/rec/pods", body);
  expect(stable(await events)).toEqual(
    stable(recorded.map(({ type, object }) => ({ type, object }))),
  );
});

test("a bookmark without a place in it looks as recorded", async () => {
  double.bookmarkMs = 20;
  const recorded = readWatch().findLast(({ type }) => type === "BOOKMARK");
  const path = "/api/v1/namespaces/rec/pods?watch=1&allowWatchBookmarks=true&resourceVersion=0";
  const events = await watchUntil(double, path, (all) => all.length >= 2);
  expect(stable(events.at(-1)?.object)).toEqual(stable(recorded?.object));
});
