import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import { type Connection, openConnection } from "./connection.ts";
import type { KubeFiles } from "./credentials.ts";
import {
  checkNamespace,
  checkNetworkPolicy,
  checkPod,
  checkQuotas,
  checkSecrets,
} from "./doctor-checks.ts";
import { checkPermissions } from "./doctor-permissions.ts";
import { isKubeError } from "./kube-error.ts";

/** One thing that has to be so for workers to run. */
export interface Check {
  readonly name: string;
  readonly ok: "pass" | "warn" | "fail";
  readonly message: string;
  /** What to do about it; empty where nothing has to be done. */
  readonly hint: string;
}

export interface DiagnoseOptions {
  readonly log: Logger;
  readonly files?: KubeFiles;
}

/** The name of the check that the API server answers; where it fails, there are no others. */
export const reachableCheck = "api server";

/** Asks the cluster everything that would keep workers from running. Changes nothing; never rejects. */
export async function diagnose(
  config: KubernetesConfig,
  options: DiagnoseOptions,
): Promise<readonly Check[]> {
  let connection: Connection;
  try {
    connection = await openConnection(config, options);
  } catch (error) {
    return [
      {
        name: reachableCheck,
        ok: "fail",
        message: error instanceof Error ? error.message : "the kubeconfig cannot be used",
        hint: "Set HODEI_K8S_KUBECONFIG and HODEI_K8S_CONTEXT, or run in a pod with a service account.",
      },
    ];
  }
  await using _open = connection;
  const reachable = await checkReachable(connection);
  if (reachable.ok === "fail") return [reachable];
  const checks = [reachable];
  const { check: namespace, exists } = await guarded("namespace", () =>
    checkNamespace(connection, config),
  );
  checks.push(namespace);
  const rest = await Promise.all([
    each("permissions", () => checkPermissions(connection, config, exists)),
    each("worker pod", () => checkPod(connection, config, exists)),
    each("quota", () => checkQuotas(connection, config, exists)),
    each("pull secret", () => checkSecrets(connection, config)),
    each("network policy", () => checkNetworkPolicy(connection, config)),
  ]);
  return [...checks, ...rest.flat(), ...riskChecks(config)];
}

/** A question that could not even be asked is an answer too. */
async function each(name: string, ask: () => Promise<readonly Check[]>): Promise<readonly Check[]> {
  return ask().catch((error: unknown) => [unanswered(name, error)]);
}

async function guarded(
  name: string,
  ask: () => Promise<{ check: Check; exists: boolean }>,
): Promise<{ check: Check; exists: boolean }> {
  return ask().catch((error: unknown) => ({ check: unanswered(name, error), exists: false }));
}

function unanswered(name: string, error: unknown): Check {
  const message = error instanceof Error ? error.message : "unknown error";
  return { name, ok: "fail", message, hint: "Ask again; the API server did not answer this." };
}

const oldestMinor = 28;

async function checkReachable(connection: Connection): Promise<Check> {
  const name = reachableCheck;
  try {
    const { gitVersion, major, minor } = await connection.request<{
      gitVersion: string;
      major: string;
      minor: string;
    }>({ method: "GET", path: "/version", timeoutMs: 5_000, retry: false });
    const isOld = Number(major) === 1 && Number.parseInt(minor, 10) < oldestMinor;
    return {
      name,
      ok: isOld ? "warn" : "pass",
      message: `${connection.server} is Kubernetes ${gitVersion}`,
      hint: isOld ? `Clusters older than 1.${oldestMinor} are not tested.` : "",
    };
  } catch (error) {
    const isRefused = isKubeError(error, 401) || isKubeError(error, 403);
    return {
      name,
      ok: "fail",
      message: `${connection.server} ${isRefused ? "does not accept the credentials" : `does not answer: ${messageOf(error)}`}`,
      hint: isRefused
        ? "Log in again, or check the user of the kubeconfig's context."
        : "Check the address in the kubeconfig, its certificate authority, and the way there.",
    };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown error";
}

function riskChecks(config: KubernetesConfig): Check[] {
  if (!config.bindWorkerRole) return [];
  return [
    {
      name: "worker role",
      ok: "warn",
      message: `the service account ${config.serviceAccount} of worker pods may manage pods`,
      hint: "User code can take over the namespace; HODEI_K8S_BIND_WORKER_ROLE=0 ends that.",
    },
  ];
}
