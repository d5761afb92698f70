import type { V1Namespace } from "@kubernetes/client-node";
import type { Connection } from "./connection.ts";
import { createdBy } from "./infrastructure-apply.ts";
import { isKubeError } from "./kube-error.ts";

/** Deletes a namespace that a server made, with all that is in it; one that was there before stays. Resolves before it is gone. */
export async function removeNamespace(
  connection: Connection,
  name: string,
): Promise<"removed" | "foreign" | "missing"> {
  const path = `/api/v1/namespaces/${name}`;
  try {
    const { metadata } = await connection.request<V1Namespace>({ method: "GET", path });
    if (metadata?.annotations?.[createdBy] === undefined) return "foreign";
    const { uid } = metadata;
    // Another of the same name, made since, is not the one that was looked at.
    const body = uid === undefined ? {} : { preconditions: { uid } };
    await connection.request({ method: "DELETE", path, body });
    return "removed";
  } catch (error) {
    if (isKubeError(error, 404)) return "missing";
    throw error;
  }
}
