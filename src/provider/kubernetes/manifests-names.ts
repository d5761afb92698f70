import type { KubernetesConfig } from "./config.ts";

/** What everything of the control plane carries; `app.kubernetes.io/name` is also how worker namespaces find it. */
export const systemLabels = {
  "app.kubernetes.io/name": "hodei",
  "app.kubernetes.io/part-of": "hodei-jobs",
  "app.kubernetes.io/managed-by": "hodei",
};

/** Names of the server's own objects. */
export const serverNames = {
  claim: "hodei-server-data",
  config: "hodei-provider-config",
  adminToken: "hodei-admin-token",
  adminTokenKey: "token",
  redis: "hodei-redis",
  redisKey: "url",
  s3: "hodei-s3",
  s3KeyId: "access-key-id",
  s3Secret: "secret-access-key",
  encryptionKey: "hodei-encryption-key",
  encryptionKeyKey: "key",
} as const;

export const httpPort = 8080;

/** Of an object of the server's own. */
export function serverMetadata({ controlPlane }: KubernetesConfig, name: string) {
  const { namespace, podLabels } = controlPlane;
  return { name, namespace, labels: { ...systemLabels, ...podLabels } };
}
