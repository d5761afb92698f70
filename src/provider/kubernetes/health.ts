import type { Health } from "#provider/provider.ts";
import type { Connection } from "./connection.ts";
import { describeDenial, KubeError } from "./kube-error.ts";

const timeoutMs = 5_000;

/** Asks the API server for a pod of the namespace. Never rejects. */
export async function checkHealth(connection: Connection, namespace: string): Promise<Health> {
  try {
    await connection.request({
      method: "GET",
      path: `/api/v1/namespaces/${namespace}/pods`,
      query: { limit: "1" },
      timeoutMs,
      // Whether it answers at once is the question.
      retry: false,
    });
    return { state: "healthy", reason: "" };
  } catch (error) {
    return explainHealth(error, namespace);
  }
}

function explainHealth(error: unknown, namespace: string): Health {
  if (!(error instanceof KubeError)) {
    const message = error instanceof Error ? error.message : "unknown";
    return { state: "unhealthy", reason: `cannot reach the Kubernetes API: ${message}` };
  }
  switch (error.status) {
    case 403: {
      const missing =
        error.denial === undefined ? error.serverMessage : describeDenial(error.denial);
      return {
        state: "degraded",
        reason: `insufficient permissions in namespace ${namespace}: ${missing}`,
      };
    }
    case 401:
      return { state: "unhealthy", reason: "the Kubernetes API does not accept the credentials" };
    case 429:
      return { state: "degraded", reason: "the Kubernetes API is overloaded" };
    default:
      return {
        state: "unhealthy",
        reason: `cannot reach the Kubernetes API: ${error.serverMessage}`,
      };
  }
}
