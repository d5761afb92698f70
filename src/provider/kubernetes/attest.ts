import type { V1TokenReview } from "@kubernetes/client-node";
import type { Connection } from "./connection.ts";

/** What a worker's token must have been made for. */
export interface Attested {
  readonly token: string;
  readonly audience: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** That the create call returned. */
  readonly podUid: string;
}

const path = "/apis/authentication.k8s.io/v1/tokenreviews";
const podUidKey = "authentication.kubernetes.io/pod-uid";

/**
 * Whether the API server says that the token was made for that very pod, its account and our audience (DESIGN G15). It no longer says so once the pod is
 * gone. Rejects with a `KubeError` when it cannot be asked.
 */
export async function attestWorker(connection: Connection, worker: Attested): Promise<boolean> {
  const { token, audience, namespace, serviceAccount, podUid } = worker;
  // Anybody can send anything: what does not even claim to be the pod's costs no call.
  if (claimedPodUid(token) !== podUid) return false;
  const body: V1TokenReview = {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenReview",
    spec: { token, audiences: [audience] },
  };
  const { status } = await connection.request<V1TokenReview>({ method: "POST", path, body });
  if (status?.authenticated !== true) return false;
  // An API server that knows no audiences answers without any.
  if (status.audiences?.includes(audience) !== true) return false;
  const { username, extra } = status.user ?? {};
  const podUids = extra?.[podUidKey] ?? [];
  return (
    username === `system:serviceaccount:${namespace}:${serviceAccount}` &&
    podUids.length === 1 &&
    podUids[0] === podUid
  );
}

/** What the token says of itself, not verified. */
function claimedPodUid(token: string): unknown {
  const [, payload, signature, more] = token.split(".");
  if (payload === undefined || signature === undefined || more !== undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
    return field(field(field(claims, "kubernetes.io"), "pod"), "uid");
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Readonly<Record<string, unknown>>)[name]
    : undefined;
}
