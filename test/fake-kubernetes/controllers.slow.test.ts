import { expect, test } from "vitest";

import { evictPod, preemptPod } from "../fake/kubernetes/controllers-nodes.ts";
import { World, eventually, namespace } from "./world.ts";

test("gives every namespace a service account and the certificate of the cluster", async () => {
  await using world = new World({ rootCa: "certificate" });
  world.objects.create("namespaces", { metadata: { name: "fresh" } });
  expect(world.objects.get("serviceaccounts", "default", "fresh")).toBeDefined();
  expect(world.objects.get("configmaps", "kube-root-ca.crt", "fresh")?.data).toEqual({
    "ca.crt": "certificate",
  });
});

test("ends a namespace only once all that is in it has gone, its pods in their grace", async () => {
  await using world = new World();
  world.objects.create("namespaces", {
    metadata: { name: "doomed" },
    spec: { finalizers: ["kubernetes"] },
  });
  world.objects.create("secrets", { metadata: { name: "s", namespace: "doomed" } });
  world.objects.create("pods", {
    metadata: { name: "p", namespace: "doomed" },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 1,
      containers: [{ name: "worker", image: "alpine:latest", command: ["sleep", "60"] }],
    },
    status: { phase: "Pending" },
  });
  await eventually(() =>
    expect(world.objects.get("pods", "p", "doomed")?.status?.phase).toBe("Running"),
  );
  world.objects.delete("namespaces", { name: "doomed" });
  expect(world.objects.list("secrets", "doomed")).toEqual([]);
  expect(world.objects.get("namespaces", "doomed")?.status).toMatchObject({
    phase: "Terminating",
    conditions: expect.arrayContaining([
      expect.objectContaining({
        type: "NamespaceContentRemaining",
        message: expect.stringContaining("pods. has 1 resource instances"),
      }),
    ]),
  });
  await eventually(() => expect(world.objects.get("namespaces", "doomed")).toBeUndefined());
  expect(world.objects.list("pods", "doomed")).toEqual([]);
  expect(world.objects.list("events", "doomed")).toEqual([]);
});

test("deletes what is owned by nobody any more", async () => {
  await using world = new World();
  const owner = (name: string, uid: string) => ({ apiVersion: "v1", kind: "Pod", name, uid });
  const pod = world.createPod("owner", "sleep 60");
  const other = world.createPod("other", "sleep 60");
  const references = [owner("owner", pod.metadata.uid)];
  world.objects.create("secrets", {
    metadata: { name: "one", namespace, ownerReferences: references },
  });
  world.objects.create("secrets", {
    metadata: {
      name: "two",
      namespace,
      ownerReferences: [...references, owner("other", other.metadata.uid)],
    },
  });
  world.deletePod("owner", 0);
  expect(world.objects.list("secrets", namespace).map(({ metadata }) => metadata.name)).toEqual([
    "two",
  ]);
});

test("keeps an owner that is deleted in the foreground until its dependents are gone", async () => {
  await using world = new World();
  const where = { name: "owner", namespace };
  const owner = world.objects.create("configmaps", {
    metadata: { ...where, finalizers: ["foregroundDeletion"] },
  });
  const { uid } = owner.metadata;
  const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid }];
  world.createPod("dependent", "sleep 60", { metadata: { ownerReferences } });
  await world.untilPhase("dependent", "Running");
  world.objects.delete("configmaps", where);
  expect(world.pod("dependent").metadata.deletionTimestamp).toBeDefined();
  expect(world.objects.get("configmaps", "owner", namespace)).toBeDefined();
  await world.untilGone("dependent");
  expect(world.objects.get("configmaps", "owner", namespace)).toBeUndefined();
});

test("counts what a quota has used, without what has ended", async () => {
  await using world = new World();
  const hard = { pods: "5", "requests.cpu": "2", "limits.memory": "2Gi", "count/secrets": "9" };
  world.objects.create("resourcequotas", { metadata: { name: "q", namespace }, spec: { hard } });
  const resources = { requests: { cpu: "250m" }, limits: { memory: "512Mi" } };
  world.createPod("one", "sleep 60", { container: { resources } });
  world.createPod("two", "sleep 60", { container: { resources } });
  const used = () => world.objects.get("resourcequotas", "q", namespace)?.status?.used;
  expect(used()).toEqual({
    pods: "2",
    "requests.cpu": "500m",
    "limits.memory": "1Gi",
    "count/secrets": "0",
  });
  world.createPod("three", "true", { container: { resources } });
  await world.untilPhase("three", "Succeeded");
  expect(used()).toMatchObject({ pods: "2", "requests.cpu": "500m" });
});

test("lets the node's pods go when it is removed, with the mark of why", async () => {
  await using world = new World();
  const seen: string[] = [];
  world.createPod("lost", "sleep 60");
  await world.untilPhase("lost", "Running");
  using _ = world.objects.subscribe(({ resource, object }) => {
    if (resource === "pods") seen.push(JSON.stringify(object["status"]));
  });
  world.machines.removeNode("node1");
  expect(world.find("lost")).toBeUndefined();
  expect(seen.at(-1)).toContain("DeletionByPodGC");
});

test("keeps a pod marked but there while its node is lost, and loses it when the node is dead and removed", async () => {
  await using world = new World();
  const tolerations = [
    {
      key: "node.kubernetes.io/unreachable",
      operator: "Exists",
      effect: "NoExecute",
      tolerationSeconds: 1,
    },
  ];
  world.createPod("lost", "sleep 60", { spec: { tolerations } });
  await world.untilPhase("lost", "Running");
  await world.machines.loseNode("node1", "dead");
  expect(world.pod("lost")).toMatchObject({
    metadata: { deletionTimestamp: expect.any(String) },
    status: { phase: "Running" },
  });
  expect(() => world.machines.readLog({ name: "lost", namespace }, "worker")).toThrow("refused");
  world.machines.removeNode("node1");
  expect(world.find("lost")).toBeUndefined();
});

test.for([
  ["eviction", evictPod, "EvictionByEvictionAPI"],
  ["preemption", preemptPod, "PreemptionByScheduler"],
] as const)(
  "marks a pod with the reason of its %s before it deletes it",
  async ([, act, reason]) => {
    await using world = new World();
    world.createPod("target", "sleep 60");
    const pod = await world.untilPhase("target", "Running");
    const seen: boolean[] = [];
    using _ = world.objects.subscribe(({ object }) => {
      if (JSON.stringify(object).includes(reason))
        seen.push(object.metadata.deletionTimestamp !== undefined);
    });
    act(world.objects, pod);
    expect(seen.slice(0, 2)).toEqual([false, true]);
  },
);
