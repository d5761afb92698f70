import type { V1Container, V1PodSecurityContext, V1SecurityContext } from "@kubernetes/client-node";
import type { KubernetesConfig } from "./config.ts";

/** The fields of one of the client's models, without its class. */
export type Plain<Model> = { [Key in keyof Model]: Model[Key] };

type SecurityConfig = Pick<KubernetesConfig, "podSecurityStandard" | "securityContext">;

/** The one capability that the restricted profile lets a container add. */
const addable = "NET_BIND_SERVICE";

/** Of the whole pod. The group is set at every level: without it nobody but root could read the mounted token. */
export function podSecurityOf(config: SecurityConfig): V1PodSecurityContext {
  const { podSecurityStandard, securityContext } = config;
  const { runAsUser, runAsGroup, fsGroup } = securityContext;
  const group = { fsGroup, fsGroupChangePolicy: "OnRootMismatch" };
  if (podSecurityStandard === "privileged") return group;
  return {
    ...group,
    runAsUser,
    runAsGroup,
    // Below that level a container beside the worker may be root.
    ...(podSecurityStandard === "restricted" ? { runAsNonRoot: true } : {}),
    seccompProfile: { type: "RuntimeDefault" },
  };
}

/** Of the worker's container: everything that can be taken away is, also where the namespace would allow more; at the privileged level nothing. */
export function containerSecurityOf(config: SecurityConfig): Plain<V1SecurityContext> {
  const { podSecurityStandard: level, securityContext } = config;
  const { readOnlyRootFilesystem, runAsUser, runAsGroup } = securityContext;
  if (level === "privileged") return {};
  const seccompProfile = { type: "RuntimeDefault" };
  // At the baseline a worker may be root, and then needs what root has.
  if (level === "baseline" && runAsUser === 0) {
    return { privileged: false, readOnlyRootFilesystem, seccompProfile };
  }
  return {
    runAsNonRoot: true,
    runAsUser,
    runAsGroup,
    privileged: false,
    readOnlyRootFilesystem,
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"] },
    seccompProfile,
  };
}

/** A container of the operator's beside the worker's, no freer than the level allows. */
export function hardenContainer(
  container: Plain<V1Container>,
  config: SecurityConfig,
): Plain<V1Container> {
  if (config.podSecurityStandard === "privileged") return container;
  const own: Plain<V1SecurityContext> = container.securityContext ?? {};
  const base = containerSecurityOf(config);
  if (config.podSecurityStandard === "baseline") {
    const { readOnlyRootFilesystem } = config.securityContext;
    return {
      ...container,
      securityContext: { readOnlyRootFilesystem, ...own, privileged: false },
    };
  }
  const { capabilities, runAsUser, runAsGroup, readOnlyRootFilesystem, seccompProfile } = own;
  const isBinding = capabilities?.add?.includes(addable) === true;
  return {
    ...container,
    securityContext: {
      ...base,
      ...(runAsUser === undefined || runAsUser === 0 ? {} : { runAsUser }),
      ...(runAsGroup === undefined ? {} : { runAsGroup }),
      ...(readOnlyRootFilesystem === undefined ? {} : { readOnlyRootFilesystem }),
      ...(seccompProfile?.type === "Localhost" ? { seccompProfile } : {}),
      capabilities: { drop: ["ALL"], ...(isBinding ? { add: [addable] } : {}) },
    },
  };
}
