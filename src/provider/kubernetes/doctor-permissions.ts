import type { V1SelfSubjectAccessReview } from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { Check } from "./doctor.ts";
import { type Permission, permissionsOf } from "./permissions.ts";

const atOnce = 8;

/** Asks for every verb that is used whether the caller has it; one check for each kind of object. */
export async function checkPermissions(
  connection: Connection,
  config: KubernetesConfig,
  isNamespaceThere: boolean,
): Promise<Check[]> {
  const questions = merge(permissionsOf(config)).flatMap((permission) =>
    permission.verbs.map((verb) => ({ permission, verb })),
  );
  const refused = new Map<Permission, string[]>();
  const waiting = [...questions];
  const ask = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const { permission, verb } = next;
      if (
        await isAllowed(connection, { permission, verb, namespace: placeOf(config, permission) })
      ) {
        continue;
      }
      refused.set(permission, [...(refused.get(permission) ?? []), verb]);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, ask));
  const checks = new Map<string, Check>();
  for (const permission of new Set(questions.map((question) => question.permission))) {
    const check = toCheck(config, permission, {
      missing: refused.get(permission) ?? [],
      isPrepared: isNamespaceThere && isMaking(permission),
    });
    const before = checks.get(check.name);
    checks.set(check.name, before === undefined ? check : worse(before, check));
  }
  return [...checks.values()];
}

const order = ["pass", "warn", "fail"];

/** Two purposes want the same kind of object: what is missing for either counts. */
function worse(a: Check, b: Check): Check {
  if (a.ok !== b.ok) return order.indexOf(a.ok) > order.indexOf(b.ok) ? a : b;
  return { ...a, message: `${a.message}; ${b.message}` };
}

/** Several purposes may want the same kind of object; each verb is asked once, for the one that cannot do without. */
function merge(permissions: readonly Permission[]): Permission[] {
  const asked = new Set<string>();
  return permissions
    .toSorted((a, b) => Number(a.isOptional ?? false) - Number(b.isOptional ?? false))
    .map((permission) => ({
      ...permission,
      verbs: permission.verbs.filter((verb) => {
        const { apiGroup, resource, scope, objectName = "" } = permission;
        const key = `${verb} ${apiGroup}/${resource} ${objectName} ${scope}`;
        if (asked.has(key)) return false;
        asked.add(key);
        return true;
      }),
    }))
    .filter(({ verbs }) => verbs.length > 0);
}

/** Undefined: in every namespace, or of objects that have none. */
function placeOf(config: KubernetesConfig, { scope }: Permission): string | undefined {
  return scope === "cluster" ? undefined : config.namespace;
}

function isMaking({ purpose }: Permission): boolean {
  return purpose === "infrastructure" || purpose === "prePull";
}

async function isAllowed(
  connection: Connection,
  question: {
    readonly permission: Permission;
    readonly verb: string;
    readonly namespace: string | undefined;
  },
): Promise<boolean> {
  const { permission, verb, namespace } = question;
  const [resource = "", subresource] = permission.resource.split("/");
  const body: V1SelfSubjectAccessReview = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: {
      resourceAttributes: {
        verb,
        group: permission.apiGroup,
        resource,
        ...(subresource !== undefined && { subresource }),
        ...(namespace !== undefined && { namespace }),
        ...(permission.objectName !== undefined && { name: permission.objectName }),
      },
    },
  };
  const { status } = await connection.request<V1SelfSubjectAccessReview>({
    method: "POST",
    path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    body,
  });
  return status?.allowed === true;
}

function toCheck(
  config: KubernetesConfig,
  permission: Permission,
  { missing, isPrepared }: { readonly missing: readonly string[]; readonly isPrepared: boolean },
): Check {
  const { apiGroup, resource, why } = permission;
  const kind = apiGroup === "" ? resource : `${resource}.${apiGroup}`;
  const namespace = placeOf(config, permission);
  const place = namespace === undefined ? "in the whole cluster" : `in namespace ${namespace}`;
  const name = `permission: ${kind}`;
  if (missing.length === 0) {
    return { name, ok: "pass", message: `may ${permission.verbs.join(", ")} ${place}`, hint: "" };
  }
  const isOptional = (permission.isOptional ?? false) || isPrepared;
  return {
    name,
    ok: isOptional ? "warn" : "fail",
    message: `may not ${missing.join(", ")} ${kind} ${place}: ${why}`,
    hint: isPrepared
      ? "Fine where an operator has prepared the namespace with `hodei manifests`; HODEI_K8S_CREATE_INFRASTRUCTURE=0 says so."
      : "Apply what `hodei manifests` prints as a cluster admin.",
  };
}
