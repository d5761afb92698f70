import type {
  V1ValidatingAdmissionPolicy,
  V1ValidatingAdmissionPolicyBinding,
} from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";
import { systemLabels } from "./manifests-names.ts";
import { isReserved } from "./names.ts";
import type { Plain } from "./pod-security.ts";

const name = "hodei-control-plane";
const apiVersion = "admissionregistration.k8s.io/v1";

/**
 * Holds the server to the namespaces of workers where it makes them itself: RBAC cannot say in which namespaces it may bind its rights, since
 * those do not exist yet. Nothing where every namespace may be a tenant's.
 */
export function guardObjects(config: KubernetesConfig) {
  const prefix = prefixOf(config);
  return prefix === undefined ? [] : [policy(config, prefix), binding()];
}

function prefixOf({ namespacePrefix }: KubernetesConfig): string | undefined {
  const prefix = namespacePrefix.replace(/-+$/, "");
  if (prefix === "") return undefined;
  return isReserved(`${prefix}-`) ? `hodei-${prefix}-` : `${prefix}-`;
}

function policy(config: KubernetesConfig, prefix: string): Plain<V1ValidatingAdmissionPolicy> {
  const { namespace } = config;
  return {
    apiVersion,
    kind: "ValidatingAdmissionPolicy",
    metadata: { name, labels: systemLabels },
    spec: {
      failurePolicy: "Fail",
      matchConstraints: {
        resourceRules: [rule("", "namespaces"), rule("rbac.authorization.k8s.io", "rolebindings")],
      },
      matchConditions: [
        {
          name: "control-plane",
          expression: `request.userInfo.username == ${JSON.stringify(userOf(config))}`,
        },
      ],
      variables: [
        {
          // "namespace" is a reserved word of the language.
          name: "place",
          expression:
            'request.resource.resource == "namespaces" ? object.metadata.name : request.namespace',
        },
      ],
      validations: [
        {
          expression: `variables.place == "${namespace}" || variables.place.startsWith("${prefix}")`,
          message: `the control plane of Hodei Jobs makes and uses no namespaces of workers but ${namespace} and ${prefix}*`,
        },
      ],
    },
  };
}

function rule(group: string, resource: string) {
  return {
    apiGroups: [group],
    apiVersions: ["v1"],
    operations: ["CREATE", "UPDATE"],
    resources: [resource],
  };
}

/** The server, as the API server names a caller. */
function userOf({ controlPlane }: KubernetesConfig): string {
  const { user, namespace, serviceAccount } = controlPlane;
  return user ?? `system:serviceaccount:${namespace}:${serviceAccount}`;
}

function binding(): Plain<V1ValidatingAdmissionPolicyBinding> {
  return {
    apiVersion,
    kind: "ValidatingAdmissionPolicyBinding",
    metadata: { name, labels: systemLabels },
    spec: { policyName: name, validationActions: ["Deny"] },
  };
}
