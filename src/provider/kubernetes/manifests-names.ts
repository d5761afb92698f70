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
} as const;

export const httpPort = 8080;
