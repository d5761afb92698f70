import type {
  V1DaemonSetList,
  V1Namespace,
  V1Pod,
  V1ResourceQuotaList,
  V1Secret,
} from "@kubernetes/client-node";
import { workerIdOf } from "#job/id.ts";
import { noPreference } from "#worker/class.ts";
import { quotaRoom } from "./capacity.ts";
import type { KubernetesConfig } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { Check } from "./doctor.ts";
import { isKubeError, KubeError } from "./kube-error.ts";
import { buildPod } from "./pod.ts";

const levels = ["privileged", "baseline", "restricted"];

/** Whether the worker namespace is there, or can be made, and admits the pods that are built. */
export async function checkNamespace(
  connection: Connection,
  config: KubernetesConfig,
): Promise<{ readonly check: Check; readonly exists: boolean }> {
  const { namespace: name, podSecurityStandard: built, createInfrastructure } = config;
  const check = (ok: Check["ok"], message: string, hint = ""): Check => ({
    name: "namespace",
    ok,
    message,
    hint,
  });
  let found: V1Namespace;
  try {
    found = await connection.request<V1Namespace>({
      method: "GET",
      path: `/api/v1/namespaces/${name}`,
    });
  } catch (error) {
    if (isKubeError(error, 404)) {
      return {
        exists: false,
        check: createInfrastructure
          ? check("pass", `${name} is not there yet; the server makes it`)
          : check("fail", `${name} is missing`, "Apply what `hodei manifests` prints."),
      };
    }
    if (!isKubeError(error, 403)) throw error;
    // Whoever may not look at namespaces may still work in one.
    return {
      exists: true,
      check: check(
        "warn",
        `may not read namespace ${name}, so its Pod Security level is unknown`,
        "The dry run of a worker pod tells whether it is admitted.",
      ),
    };
  }
  if (found.status?.phase === "Terminating") {
    const hint = "Wait until it is gone; the server then makes it anew.";
    return { exists: true, check: check("fail", `${name} is being deleted`, hint) };
  }
  const enforced = found.metadata?.labels?.["pod-security.kubernetes.io/enforce"];
  if (enforced !== undefined && levels.indexOf(enforced) > levels.indexOf(built)) {
    return {
      exists: true,
      check: check(
        "warn",
        `${name} enforces Pod Security ${enforced}, and pods are built for ${built}`,
        `Set HODEI_K8S_POD_SECURITY_STANDARD=${enforced}, or change the namespace's label.`,
      ),
    };
  }
  return enforced === undefined && !createInfrastructure
    ? {
        exists: true,
        check: check(
          "warn",
          `${name} enforces no Pod Security level`,
          `Label it pod-security.kubernetes.io/enforce=${built}.`,
        ),
      }
    : {
        exists: true,
        check: check(
          "pass",
          `${name} is there, Pod Security ${enforced ?? `${built} once started`}`,
        ),
      };
}

/** Has the API server judge a worker pod without making it. */
export async function checkPod(
  connection: Connection,
  config: KubernetesConfig,
  isNamespaceThere: boolean,
): Promise<Check[]> {
  const name = "worker pod";
  if (!isNamespaceThere) {
    const message = `not tried: namespace ${config.namespace} is not there yet`;
    return [{ name, ok: "warn", message, hint: "Ask again after the server's first start." }];
  }
  try {
    await connection.request<V1Pod>({
      method: "POST",
      path: `/api/v1/namespaces/${config.namespace}/pods`,
      query: { dryRun: "All" },
      body: samplePod(config),
    });
    return [{ name, ok: "pass", message: "a worker pod would be admitted", hint: "" }];
  } catch (error) {
    if (!(error instanceof KubeError)) throw error;
    return [
      {
        name,
        ok: isAccountToCome(config, error) ? "warn" : "fail",
        message: `a worker pod is refused: ${error.serverMessage}`,
        hint: podHint(config, error),
      },
    ];
  }
}

function samplePod(config: KubernetesConfig): V1Pod {
  return buildPod(
    config,
    {
      workerId: workerIdOf(0),
      workerClass: {
        image: "",
        resources: { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" },
        provider: noPreference,
        longestHours: 1,
      },
      tenant: undefined,
      otp: "",
      serverAddress: `${config.controlPlane.service}.${config.controlPlane.namespace}.svc:${config.controlPlane.agentPort}`,
      serverCa: undefined,
      slots: 1,
      labels: {},
      annotations: {},
      maxLifetimeMs: undefined,
      disconnectToleranceMs: 600_000,
    },
    { namespace: config.namespace, instanceId: config.instance, provider: "kubernetes", env: {} },
  );
}

/** The server makes the account at its start. */
function isAccountToCome(config: KubernetesConfig, error: KubeError): boolean {
  return config.createInfrastructure && error.serverMessage.includes("looking up service account");
}

function podHint(config: KubernetesConfig, error: KubeError): string {
  const words = error.serverMessage;
  if (words.includes("violates PodSecurity")) {
    return "Raise HODEI_K8S_POD_SECURITY_STANDARD, or lower the namespace's enforced level.";
  }
  if (words.includes("exceeded quota")) return "Raise the quota, or lower the default requests.";
  if (words.includes("service account")) {
    return isAccountToCome(config, error)
      ? "The server makes the account at its start."
      : `Create the service account ${config.serviceAccount}, or apply what \`hodei manifests\` prints.`;
  }
  if (error.denial !== undefined) return "Apply what `hodei manifests` prints as a cluster admin.";
  if (words.includes("admission webhook")) return "Ask who runs that admission webhook.";
  return "The API server's words say which field it does not accept.";
}

/** How much room the quotas leave. */
export async function checkQuotas(
  connection: Connection,
  config: KubernetesConfig,
  isNamespaceThere: boolean,
): Promise<Check[]> {
  if (!isNamespaceThere) return [];
  let list: V1ResourceQuotaList;
  try {
    list = await connection.request<V1ResourceQuotaList>({
      method: "GET",
      path: `/api/v1/namespaces/${config.namespace}/resourcequotas`,
    });
  } catch (error) {
    if (!isKubeError(error, 403)) throw error;
    return [
      {
        name: "quota",
        ok: "warn",
        message: "may not list resource quotas, so they bound no number of workers",
        hint: "Allow `list resourcequotas`; jobs beyond a quota otherwise fail to start.",
      },
    ];
  }
  if (list.items.length === 0) {
    return [{ name: "quota", ok: "pass", message: "no quota in the namespace", hint: "" }];
  }
  return list.items.map((quota) => {
    const room = quotaRoom(config, [quota]);
    const used = Object.entries(quota.status?.hard ?? {})
      .map(([resource, hard]) => `${resource} ${quota.status?.used?.[resource] ?? "0"}/${hard}`)
      .join(", ");
    return {
      name: `quota: ${quota.metadata?.name ?? ""}`,
      ok: room < 1 ? "warn" : "pass",
      message: `room for ${Number.isFinite(room) ? room : "any number of"} more workers of the default size (${used})`,
      hint:
        room < 1
          ? "Raise the quota, or lower HODEI_K8S_DEFAULT_CPU_REQUEST and _MEMORY_REQUEST."
          : "",
    };
  });
}

const pullTypes = ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"];

/** Whether the pull secrets are there and are such. */
export async function checkSecrets(
  connection: Connection,
  { imagePullSecrets, namespace }: KubernetesConfig,
): Promise<Check[]> {
  return Promise.all(
    imagePullSecrets.map(async (secret): Promise<Check> => {
      const name = `pull secret: ${secret}`;
      const path = `/api/v1/namespaces/${namespace}/secrets/${secret}`;
      try {
        const { type = "Opaque" } = await connection.request<V1Secret>({ method: "GET", path });
        if (pullTypes.includes(type)) {
          return { name, ok: "pass", message: `is in namespace ${namespace}`, hint: "" };
        }
        const hint = `Make it with \`kubectl create secret docker-registry ${secret} -n ${namespace} …\`.`;
        return { name, ok: "fail", message: `is of type ${type}, not for pulling images`, hint };
      } catch (error) {
        if (isKubeError(error, 404)) {
          const hint = `Make it with \`kubectl create secret docker-registry ${secret} -n ${namespace} …\`.`;
          return { name, ok: "fail", message: `is missing in namespace ${namespace}`, hint };
        }
        if (!isKubeError(error, 403)) throw error;
        const hint = "Allow `get secrets` in that namespace.";
        return { name, ok: "warn", message: "may not be read, so it is not copied", hint };
      }
    }),
  );
}

/** Agents of networks that are known to enforce policies, by the names of their DaemonSets. */
const enforcing =
  /calico|canal|cilium|weave|antrea|kube-router|ovn|azure-npm|kindnet|aws-node|terway|tigera/;

/** The API takes policies also where nobody enforces them; what runs on the nodes gives a hint. */
export async function checkNetworkPolicy(
  connection: Connection,
  config: KubernetesConfig,
): Promise<Check[]> {
  const name = "network policy";
  if (!config.networkPolicy.isEnabled) {
    const message = "worker namespaces get no network policies";
    return [{ name, ok: "warn", message, hint: "HODEI_K8S_NETWORK_POLICY_ENABLED=1 makes them." }];
  }
  const version = await connection.request<{ gitVersion: string }>({
    method: "GET",
    path: "/version",
  });
  if (/\+(k3s|rke2)/.test(version.gitVersion)) {
    const message = "k3s and RKE2 enforce network policies unless told otherwise";
    return [{ name, ok: "pass", message, hint: "" }];
  }
  const hint =
    "Without a network that enforces them, workers reach everything: try one, or ask who runs the cluster.";
  try {
    const { items } = await connection.request<V1DaemonSetList>({
      method: "GET",
      path: "/apis/apps/v1/daemonsets",
    });
    const agent = items.find(({ metadata }) => enforcing.test(metadata?.name ?? ""));
    return agent === undefined
      ? [{ name, ok: "warn", message: "no network is known to enforce policies here", hint }]
      : [
          {
            name,
            ok: "pass",
            message: `${agent.metadata?.name ?? ""} enforces policies`,
            hint: "",
          },
        ];
  } catch (error) {
    if (!isKubeError(error, 403)) throw error;
    return [{ name, ok: "warn", message: "cannot tell whether policies are enforced", hint }];
  }
}
