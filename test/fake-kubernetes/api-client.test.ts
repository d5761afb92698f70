import {
  ApiException,
  AppsV1Api,
  AuthorizationV1Api,
  CoreV1Api,
  KubeConfig,
  KubernetesObjectApi,
  RbacAuthorizationV1Api,
  VersionApi,
  Watch,
} from "@kubernetes/client-node";
import { expect, test } from "vitest";

import { startCluster } from "../fake/kubernetes/cluster.ts";
import { startKubernetes, type KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import type { Identity } from "../fake/kubernetes/kubeconfig.ts";

function configOf(double: KubernetesDouble, identity?: Identity): KubeConfig {
  const config = new KubeConfig();
  config.loadFromString(double.kubeconfig(identity));
  return config;
}

function podOf(name: string, command: string[]): object {
  return {
    metadata: { name },
    spec: {
      restartPolicy: "Never",
      containers: [{ name: "worker", image: "alpine:latest", command }],
    },
  };
}

test("the real client creates, reads, lists and deletes over HTTPS", async () => {
  await using double = await startKubernetes();
  const core = configOf(double).makeApiClient(CoreV1Api);
  const body = podOf("a", ["true"]);
  const made = await core.createNamespacedPod({ namespace: "default", body });
  expect(made.spec?.containers[0]?.imagePullPolicy).toBe("Always");
  expect(made.metadata?.creationTimestamp).toBeInstanceOf(Date);
  expect((await core.listPodForAllNamespaces()).items).toHaveLength(1);
  await core.deleteNamespacedPod({ namespace: "default", name: "a" });
  const refused = core.readNamespacedPod({ namespace: "default", name: "a" });
  await expect(refused).rejects.toBeInstanceOf(ApiException);
  await expect(refused).rejects.toMatchObject({ code: 404 });
});

test("discovery is enough for a client that only knows kinds", async () => {
  await using double = await startKubernetes();
  const objects = KubernetesObjectApi.makeApiClient(configOf(double));
  const role = {
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "Role",
    metadata: { name: "r", namespace: "default" },
    rules: [{ apiGroups: [""], resources: ["pods"], verbs: ["get"] }],
  };
  await objects.create(role);
  const read = await objects.read(role);
  expect(read).toMatchObject({ kind: "Role", metadata: { name: "r" } });
  const version = await configOf(double).makeApiClient(VersionApi).getCode();
  expect(version.gitVersion).toBe("v1.36.2");
  const apps = await configOf(double).makeApiClient(AppsV1Api).getAPIResources();
  expect(apps.resources.map(({ name }) => name)).toContain("deployments");
});

test("a certificate signs its user in", async () => {
  await using double = await startKubernetes();
  const jane = await double.certificateUser("jane", ["builders"]);
  const config = configOf(double, jane);
  const core = config.makeApiClient(CoreV1Api);
  await expect(core.listNamespacedSecret({ namespace: "default" })).rejects.toThrow(
    /cannot list resource/,
  );
  const rbac = configOf(double).makeApiClient(RbacAuthorizationV1Api);
  await rbac.createClusterRoleBinding({
    body: {
      metadata: { name: "builders" },
      subjects: [{ kind: "Group", name: "builders", apiGroup: "rbac.authorization.k8s.io" }],
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "edit" },
    },
  });
  await expect(core.listNamespacedSecret({ namespace: "default" })).resolves.toBeDefined();
  const review = await config.makeApiClient(AuthorizationV1Api).createSelfSubjectAccessReview({
    body: {
      spec: { resourceAttributes: { verb: "create", resource: "pods", namespace: "default" } },
    },
  });
  expect(review.status?.allowed).toBe(true);
});

test("pods really run, and the client watches them and reads their log", async () => {
  await using cluster = await startCluster();
  const config = configOf(cluster.api);
  const core = config.makeApiClient(CoreV1Api);
  const phases: string[] = [];
  const watch = await new Watch(config).watch(
    "/api/v1/namespaces/default/pods",
    { allowWatchBookmarks: true },
    (_type, object: { status?: { phase?: string } }) => phases.push(object.status?.phase ?? ""),
    () => {},
  );
  const body = podOf("a", ["sh", "-c", "echo hello"]);
  await core.createNamespacedPod({ namespace: "default", body });
  await expect.poll(() => phases).toContain("Succeeded");
  const log = await core.readNamespacedPodLog({ namespace: "default", name: "a" });
  expect(log).toBe("hello\n");
  watch.abort();
});
