import { isDeepStrictEqual } from "node:util";
import type { ServerResponse } from "node:http";
import { expect, test } from "vitest";
import {
  ensureInfrastructure,
  infrastructureObjects,
} from "#provider/kubernetes/infrastructure.ts";
import { createdBy, InfrastructureError } from "#provider/kubernetes/infrastructure-apply.ts";
import { startInfrastructure } from "#provider/kubernetes/infrastructure-keep.ts";
import { removeNamespace } from "#provider/kubernetes/infrastructure-remove.ts";
import { refuse, reply, type Seen, silent, startTinyApi, type TinyApi } from "./ground-server.ts";

interface Stored {
  readonly metadata: { readonly annotations?: Record<string, string> } & Record<string, unknown>;
  readonly [field: string]: unknown;
}

/** An API server that stores what is applied; `deny` answers first where it wants to. */
async function startStore(
  deny: (seen: Seen, response: ServerResponse) => boolean = () => false,
): Promise<TinyApi & { readonly objects: Map<string, Stored> }> {
  const objects = new Map<string, Stored>();
  let version = 1000;
  const api = await startTinyApi((seen, response) => {
    if (deny(seen, response)) return;
    const before = objects.get(seen.path);
    if (seen.method === "PATCH") {
      const body = seen.body as Stored;
      const { resourceVersion, ...rest } = before?.metadata ?? {};
      const isSame = before !== undefined && isDeepStrictEqual({ ...before, metadata: rest }, body);
      const stored = {
        ...body,
        metadata: { ...body.metadata, resourceVersion: isSame ? resourceVersion : `${++version}` },
      };
      objects.set(seen.path, stored);
      reply(response, before === undefined ? 201 : 200, stored);
    } else if (before === undefined) {
      refuse(response, 404, { reason: "NotFound", message: `"${seen.path}" not found` });
    } else {
      if (seen.method === "DELETE") objects.delete(seen.path);
      reply(response, 200, before);
    }
  });
  return Object.assign(api, { objects });
}

const workers = "/api/v1/namespaces/hodei-jobs-workers";

async function errorFrom(promise: Promise<unknown>): Promise<InfrastructureError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof InfrastructureError)) throw new Error("another error", { cause: error });
  return error;
}

test("a second start changes no resourceVersion", async () => {
  await using api = await startStore();
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const first = await ensureInfrastructure(connection, objects, { log: silent });
  const second = await ensureInfrastructure(connection, objects, { log: silent });
  expect(first.map(({ outcome }) => outcome)).toEqual(objects.map(() => "applied"));
  expect(second.map(({ resourceVersion }) => resourceVersion)).toEqual(
    first.map(({ resourceVersion }) => resourceVersion),
  );
  const applies = api.seen.filter(({ method }) => method === "PATCH");
  expect(applies[0]?.path).toBe(workers);
  for (const { query, headers } of applies) {
    expect(Object.fromEntries(query)).toEqual({
      fieldManager: "hodei-jobs",
      force: "true",
      fieldValidation: "Strict",
    });
    expect(headers["content-type"]).toBe("application/apply-patch+yaml");
  }
});

test("a namespace that somebody else made keeps its labels, and is not marked as ours", async () => {
  await using api = await startStore((seen, response) => {
    const label = "pod-security.kubernetes.io/enforce";
    if (seen.method !== "PATCH" || !JSON.stringify(seen.body).includes(`${label}"`)) return false;
    const cause = {
      reason: "FieldManagerConflict",
      message: 'conflict with "kubectl"',
      field: ".metadata.labels.pod-security.kubernetes.io/enforce",
    };
    refuse(response, 409, { reason: "Conflict", details: { causes: [cause] } });
    return true;
  });
  api.objects.set(workers, { metadata: { name: "hodei-jobs-workers" } });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const [namespace] = await ensureInfrastructure(connection, objects, { log: silent });
  expect(namespace).toMatchObject({
    outcome: "foreign",
    conflicts: [".metadata.labels.pod-security.kubernetes.io/enforce"],
  });
  const apply = api.seen.find(({ method, path }) => method === "PATCH" && path === workers);
  expect(apply?.query.get("force")).toBe("false");
  expect(api.objects.get(workers)).toMatchObject({
    metadata: {
      labels: { "hodei.io/managed": "true", "pod-security.kubernetes.io/warn": "restricted" },
    },
  });
  expect(JSON.stringify(apply?.body)).not.toContain(createdBy);
});

test("only a namespace that the server made is deleted", async () => {
  await using api = await startStore();
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, "hodei-tenant-a", "a");
  await ensureInfrastructure(connection, objects, { log: silent });
  api.objects.set(workers, { metadata: { name: "hodei-jobs-workers" } });
  expect(await removeNamespace(connection, "hodei-jobs-workers")).toBe("foreign");
  expect(await removeNamespace(connection, "hodei-tenant-a")).toBe("removed");
  expect(await removeNamespace(connection, "hodei-tenant-a")).toBe("missing");
  expect(api.objects.has(workers)).toBe(true);
});

test("a terminating namespace is said to be one, and may pass", async () => {
  await using api = await startStore();
  const metadata = { name: "x", deletionTimestamp: "2026-11-20T20:03:01Z" };
  api.objects.set(workers, { metadata, status: { phase: "Terminating" } });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error).toMatchObject({ kind: "terminating", canPass: true, code: "unavailable" });
  expect(api.seen.filter(({ method }) => method === "PATCH")).toEqual([]);
});

test("a namespace that begins to end meanwhile is no missing right", async () => {
  await using api = await startStore((seen, response) => {
    if (!seen.path.endsWith("hodei-jobs-worker")) return false;
    refuse(response, 403, {
      reason: "Forbidden",
      message:
        'serviceaccounts "hodei-jobs-worker" is forbidden: unable to create new content in namespace hodei-jobs-workers because it is being terminated',
      details: { causes: [{ reason: "NamespaceTerminating", field: "metadata.namespace" }] },
    });
    return true;
  });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error).toMatchObject({ kind: "terminating", canPass: true });
});

/** As a server that may read, and change nothing in these paths. */
const denyWrites = (paths: RegExp) => (seen: Seen, response: ServerResponse) => {
  if (seen.method !== "PATCH" || !paths.test(seen.path)) return false;
  const [, , , , namespace, resource] = seen.path.split("/");
  const isCluster = resource === undefined;
  refuse(response, 403, {
    reason: "Forbidden",
    message: `x is forbidden: User "u" cannot patch resource "${isCluster ? "namespaces" : resource}" in API group "" ${isCluster ? "at the cluster scope" : `in the namespace "${namespace ?? ""}"`}`,
  });
  return true;
};

test("a missing right is named with verb, resource and namespace", async () => {
  await using api = await startStore(denyWrites(/serviceaccounts/));
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error).toMatchObject({
    kind: "forbidden",
    canPass: false,
    denial: { verb: "patch", resource: "serviceaccounts", namespace: "hodei-jobs-workers" },
  });
  expect(error.message).toContain("may not patch serviceaccounts in namespace hodei-jobs-workers");
});

test("what an operator has prepared is taken as it is", async () => {
  let isLocked = false;
  const deny = denyWrites(/./);
  await using api = await startStore((seen, response) => isLocked && deny(seen, response));
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  await ensureInfrastructure(connection, objects, { log: silent });
  isLocked = true;
  const applied = await ensureInfrastructure(connection, objects, { log: silent });
  expect(applied.map(({ outcome }) => outcome)).toEqual(objects.map(() => "prepared"));
  api.objects.delete(`${workers}/serviceaccounts/hodei-jobs-worker`);
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error.kind).toBe("forbidden");
});

test("a namespace that may not even be read is taken as it is where the rest can be made", async () => {
  const forbid = (response: ServerResponse): void =>
    refuse(response, 403, {
      reason: "Forbidden",
      message: `namespaces "x" is forbidden: User "u" cannot patch resource "namespaces" in API group "" in the namespace "x"`,
    });
  let isThere = true;
  await using api = await startStore((seen, response) => {
    if (seen.path === workers) forbid(response);
    else if (isThere) return false;
    else refuse(response, 404, { reason: "NotFound", message: 'namespaces "x" not found' });
    return true;
  });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const applied = await ensureInfrastructure(connection, objects, { log: silent });
  expect(applied).toHaveLength(objects.length - 1);
  isThere = false;
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error).toMatchObject({ kind: "forbidden", denial: { resource: "namespaces" } });
});

test("a refused escalation says which rights the control plane lacks", async () => {
  await using api = await startStore((seen, response) => {
    if (seen.method !== "PATCH" || !seen.path.includes("/roles/")) return false;
    refuse(response, 403, {
      reason: "Forbidden",
      message:
        'roles.rbac.authorization.k8s.io "r" is forbidden: user "system:serviceaccount:rec:control" (groups=["system:serviceaccounts" "system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n{APIGroups:[""], Resources:["pods"], Verbs:["create"]}',
    });
    return true;
  });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const error = await errorFrom(ensureInfrastructure(connection, objects, { log: silent }));
  expect(error.kind).toBe("escalation");
  expect(error.message).toContain('{APIGroups:[""], Resources:["pods"], Verbs:["create"]}');
  expect(error.hint).toContain("hodei manifests");
});

test("a lost answer is asked for again", async () => {
  let count = 0;
  await using api = await startStore((seen, response) => {
    if (seen.method !== "PATCH" || ++count > 1) return false;
    response.socket?.destroy();
    return true;
  });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  const applied = await ensureInfrastructure(connection, objects, { log: silent });
  expect(applied).toHaveLength(objects.length);
});

test("a write that somebody else came before is made again", async () => {
  let count = 0;
  await using api = await startStore((seen, response) => {
    if (!seen.path.includes("resourcequotas") || ++count > 2) return false;
    refuse(response, 409, { reason: "Conflict", message: "the object has been modified" });
    return true;
  });
  const connection = await api.connect();
  const objects = infrastructureObjects(api.config, api.config.namespace);
  await ensureInfrastructure(connection, objects, { log: silent });
  expect(count).toBe(3);
});

test("concurrent callers share one run, a good one is remembered, a bad one is not", async () => {
  let isBroken = true;
  await using api = await startStore((_, response) => {
    if (isBroken) refuse(response, 400, { message: "no" });
    return isBroken;
  });
  const connection = await api.connect();
  await using kept = startInfrastructure({ connection, config: api.config, log: silent });
  await expect(kept.ensure("hodei-tenant-a", "a")).rejects.toThrow("no");
  isBroken = false;
  await Promise.all([1, 2, 3].map(() => kept.ensure("hodei-tenant-a", "a")));
  const { length } = api.seen;
  await kept.ensure("hodei-tenant-a", "a");
  expect(api.seen).toHaveLength(length);
  expect(
    api.seen.filter(({ path, method }) => method === "PATCH" && path.endsWith("-a")),
  ).toHaveLength(1);
  kept.forget("hodei-tenant-a");
  await kept.ensure("hodei-tenant-a", "a");
  expect(api.seen.length).toBeGreaterThan(length);
});

test("a pull secret is copied into a tenant's namespace, and again when it has changed", async () => {
  await using api = await startStore();
  const secret = (resourceVersion: string, data: string) =>
    api.objects.set(`${workers}/secrets/regcred`, {
      metadata: { name: "regcred", resourceVersion },
      type: "kubernetes.io/dockerconfigjson",
      data: { ".dockerconfigjson": data },
    });
  secret("7", "b2xk");
  const connection = await api.connect();
  const config = { ...api.config, imagePullSecrets: ["regcred"] };
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure("hodei-tenant-a", "a");
  const copy = "/api/v1/namespaces/hodei-tenant-a/secrets/regcred";
  expect(api.objects.get(copy)).toMatchObject({
    type: "kubernetes.io/dockerconfigjson",
    data: { ".dockerconfigjson": "b2xk" },
  });
  await kept.refreshSecrets();
  secret("8", "bmV3");
  await kept.refreshSecrets();
  expect(api.objects.get(copy)).toMatchObject({ data: { ".dockerconfigjson": "bmV3" } });
  expect(api.seen.filter(({ method, path }) => method === "PATCH" && path === copy)).toHaveLength(
    2,
  );
});

test("a missing pull secret keeps no namespace from being made", async () => {
  await using api = await startStore();
  const connection = await api.connect();
  const config = { ...api.config, imagePullSecrets: ["regcred"] };
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure("hodei-tenant-a", "a");
  expect(api.objects.has("/api/v1/namespaces/hodei-tenant-a")).toBe(true);
});

test("where an operator makes everything, nothing is written", async () => {
  await using api = await startStore();
  const connection = await api.connect();
  const config = { ...api.config, createInfrastructure: false };
  await using kept = startInfrastructure({ connection, config, log: silent });
  await kept.ensure(config.namespace);
  expect(api.seen).toEqual([]);
});
