import { describe, expect, test } from "vitest";
import type { KubernetesConfig } from "#provider/kubernetes/config.ts";
import { permissionsOf } from "#provider/kubernetes/permissions.ts";
import { dynamic, type Found, get, named, printed, standard } from "./printed.ts";

describe.for(named)("$name manifests", ({ config }) => {
  const objects = printed(config);

  test("give the control plane every right that it uses", () => {
    const used = permissionsOf(config).flatMap(({ apiGroup, resource, objectName, verbs, scope }) =>
      verbs.map((verb) => ({ apiGroup, resource, objectName, verb, scope })),
    );
    expect(used.filter((right) => !mayDo(objects, config, right))).toEqual([]);
  });

  // Kubernetes lets nobody hand out a right that he lacks.
  test("give it every right that it hands out by a Role", () => {
    const roles = objects.filter(({ kind }) => kind === "Role");
    const handedOut = roles.flatMap(({ rules }) =>
      rules.flatMap(({ apiGroups, resources, verbs }) =>
        resources.flatMap((resource) =>
          verbs.map((verb) => ({
            apiGroup: apiGroups[0] ?? "",
            resource,
            verb,
            scope: "workers" as const,
          })),
        ),
      ),
    );
    expect(handedOut.length).toBeGreaterThan(5);
    const others = objects.filter(({ kind }) => kind !== "Role");
    expect(handedOut.filter((right) => !mayDo(others, config, right))).toEqual([]);
  });

  test("give worker pods no token and no right", () => {
    const account = get(objects, "ServiceAccount", config.serviceAccount);
    expect(account.automountServiceAccountToken).toBe(false);
    const bound = objects.flatMap(({ subjects }) => subjects ?? []).map(({ name }) => name);
    expect(new Set(bound)).toEqual(new Set([config.controlPlane.serviceAccount]));
  });

  test("give the control plane no right with a star", () => {
    expect(JSON.stringify(objects.map(({ rules }) => rules))).not.toContain("*");
  });
});

test("the control plane reads no Secret and makes no pod in a namespace that is no worker's", () => {
  for (const { config } of named) {
    const objects = printed(config);
    const wide = objects.filter(({ kind }) => kind === "ClusterRoleBinding");
    expect(wide.map(({ metadata }) => metadata.name)).toEqual(["hodei-control-plane"]);
    const rules = get(objects, "ClusterRole", "hodei-control-plane").rules;
    expect(JSON.stringify(rules)).not.toMatch(/secrets|configmaps|exec|escalate|impersonate/);
    const pods = rules.filter(({ resources }) => resources.includes("pods"));
    for (const { verbs } of pods) expect(verbs).toEqual(["list", "watch"]);
  }
});

test("where tenants have namespaces it may bind one role, and a policy says where", () => {
  const objects = printed(dynamic);
  const [bind, ...others] = get(objects, "ClusterRole", "hodei-control-plane").rules.filter(
    ({ verbs }) => verbs.includes("bind"),
  );
  expect(others).toEqual([]);
  expect(bind).toMatchObject({
    resources: ["clusterroles"],
    resourceNames: ["hodei-worker-namespaces"],
  });
  const policy = get(objects, "ValidatingAdmissionPolicy");
  expect(JSON.stringify(policy)).toContain(
    "system:serviceaccount:hodei-system:hodei-control-plane",
  );
  expect(JSON.stringify(policy)).toContain('startsWith(\\"hodei-tenant-\\")');
  // A variable of that name is no word of the policies' language.
  expect(JSON.stringify(policy)).not.toMatch(/variables\.(namespace|package|function|import)\b/);
  expect(printed(standard).map(({ kind }) => kind)).not.toContain("ValidatingAdmissionPolicy");
});

interface Right {
  readonly apiGroup: string;
  readonly resource: string;
  readonly objectName?: string | undefined;
  readonly verb: string;
  readonly scope: "workers" | "cluster";
}

/** As the authorizer would decide for the control plane's account. */
function mayDo(objects: readonly Found[], config: KubernetesConfig, right: Right): boolean {
  const bound = objects.filter(
    ({ kind, metadata, subjects }) =>
      subjects?.some(({ name }) => name === config.controlPlane.serviceAccount) === true &&
      (kind === "ClusterRoleBinding" ||
        (right.scope === "workers" && metadata.namespace === config.namespace)),
  );
  const rules = bound.flatMap(({ roleRef }) =>
    objects
      .filter(({ kind, metadata }) => kind === roleRef.kind && metadata.name === roleRef.name)
      .flatMap((role) => role.rules),
  );
  return rules.some(
    ({ apiGroups, resources, resourceNames, verbs }) =>
      (resourceNames === undefined || resourceNames.includes(right.objectName ?? "")) &&
      apiGroups.includes(right.apiGroup) &&
      resources.includes(right.resource) &&
      verbs.includes(right.verb),
  );
}
