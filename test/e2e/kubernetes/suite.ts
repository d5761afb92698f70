import { setTimeout as wait } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { JobEvent } from "#client/client.ts";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";
import { record, writeReport } from "./report.ts";

const patience = { timeout: 120_000, interval: 200 };
const mebibyte = 1024 * 1024;

/** What holds on every cluster. */
export function kubernetesSuite(name: string, open: () => Promise<Cluster>): void {
  describe(`jobs on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      // A hundred jobs at once, and one that is too large for any node, are more than a quota allows.
      hodei = await ground.start({ env: { HODEI_K8S_QUOTA_ENABLED: "0" } });
    }, openMs);
    afterAll(async () => {
      writeReport(name, ground.timings);
      await ground[Symbol.asyncDispose]();
    }, hookMs);
    afterEach(() => hodei.isClean(), hookMs);

    test("a job runs in a pod that dialled back, its log comes home, and nothing is left", async () => {
      const ran = await hodei.run({ command: ["echo", "Hello from a pod"] });
      record(ground, "hello", ran.events);
      expect(ran.job).toMatchObject({ state: "succeeded", exitCode: 0 });
      expect(ran.output).toBe("Hello from a pod\n");
      const stages = ran.events.map(({ stage }) => stage);
      // What a quick cluster passes in no time is not told.
      expect(stages).toEqual(expect.arrayContaining(["selecting", "creating", "running"]));
    });

    test("the exit code and both streams are the job's own", async () => {
      const script = "echo out; echo err >&2; exit 7";
      const { job, output } = await hodei.run({ script });
      expect(job).toMatchObject({
        state: "failed",
        exitCode: 7,
        failure: { cause: "exit_code", blame: "user" },
      });
      expect(output).toBe("out\n");
      expect(await hodei.output(job.id, "stderr")).toBe("err\n");
    });

    test("resources, labels and annotations of the job are the pod's, and managed labels stay ours", async () => {
      const id = await hodei.submit({
        command: ["sleep", "60"],
        labels: { team: "blue" },
        annotations: { "example.com/note": "see here" },
        resources: { cpuMillis: 100, memoryBytes: 64 * mebibyte },
      });
      await hodei.running(id);
      const { metadata, spec } = await hodei.pod(id);
      expect(metadata?.labels).toMatchObject({
        team: "blue",
        "hodei.io/managed": "true",
        "hodei.io/provider": "Kubernetes",
      });
      expect(metadata?.annotations).toMatchObject({ "example.com/note": "see here" });
      const worker = spec?.containers.find((container) => container.name === "worker");
      expect(worker?.resources?.requests?.["cpu"]).toBe("100m");
      // Under the job's own limit the agent would take seconds to start.
      expect(worker?.resources?.limits?.["cpu"]).toBe("500m");
      expect(spec?.restartPolicy).toBe("Never");
      expect(spec?.automountServiceAccountToken).toBe(false);
      expect(spec?.activeDeadlineSeconds).toBeGreaterThan(60);
      await hodei.client.cancel(id);
      expect(await hodei.client.wait(id)).toMatchObject({ state: "cancelled" });
    });

    test("the token is in no pod, and its secret goes as soon as it is redeemed", async () => {
      const id = await hodei.submit({ command: ["sleep", "60"] });
      await hodei.running(id);
      const pod = await hodei.pod(id);
      const env = pod.spec?.containers.flatMap((container) => container.env ?? []) ?? [];
      expect(env.map((entry) => entry.name)).not.toContain("HODEI_OTP_TOKEN");
      await vi.waitFor(async () => {
        const secrets = (await ground.leftovers(hodei.namespace)).filter((one) =>
          one.startsWith("secret"),
        );
        expect(secrets).toEqual([]);
      }, patience);
      await hodei.client.cancel(id);
      await hodei.client.wait(id);
    });

    test("a cancelled job leaves no pod", async () => {
      const id = await hodei.submit({ script: "trap 'echo asked; exit 0' TERM; sleep 60 & wait" });
      await hodei.running(id);
      await hodei.client.cancel(id, { reason: "enough" });
      expect(await hodei.client.wait(id)).toMatchObject({ state: "cancelled" });
    });

    test("G24: a pod that fits nowhere says so in the scheduler's words while the job is pending", async () => {
      const id = await hodei.submit({
        command: ["true"],
        resources: { cpuMillis: 900_000, memoryBytes: 64 * mebibyte },
      });
      const told = await hodei.event(id, says(/insufficient cpu/iu));
      expect(told.failure).toMatchObject({ stage: "scheduling" });
      expect((await hodei.client.get(id)).state).toBe("queued");
      const { summary } = await hodei.client.explain(id);
      expect(summary).toMatch(/insufficient cpu/iu);
      await hodei.client.cancel(id);
    });

    test("G24: an image that does not exist is named while the job is pending, and ends it", async () => {
      const image = "127.0.0.1:1/nobody/nothing:1";
      const id = await hodei.submit({ command: ["true"], image });
      const told = await hodei.event(id, (event) => event.failure?.stage === "pulling");
      expect(told.message).toContain(image);
      await hodei.client.cancel(id);
    });

    test("a pod that somebody deletes ends the attempt with that cause, and a retry gets another", async () => {
      const id = await hodei.submit({
        script: "sleep 30",
        retry: { maxAttempts: 2, retryLost: true, initialBackoffMs: 100 },
      });
      await hodei.running(id);
      const { metadata } = await hodei.pod(id);
      await ground.core.deleteNamespacedPod({
        name: metadata?.name ?? "",
        namespace: metadata?.namespace ?? "",
        gracePeriodSeconds: 0,
      });
      await hodei.event(id, (event) => event.attempt === 2 && event.state === "running");
      const [first] = (await hodei.client.get(id)).attempts;
      expect(first?.failure?.blame).not.toBe("user");
      await hodei.client.cancel(id);
      await hodei.client.wait(id);
    });

    test("an eviction is told, and is no fault of the user", async () => {
      const id = await hodei.submit({ script: "sleep 60" });
      await hodei.running(id);
      const { metadata } = await hodei.pod(id);
      const name = metadata?.name ?? "";
      const namespace = metadata?.namespace ?? "";
      await ground.core.createNamespacedPodEviction({
        name,
        namespace,
        body: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } },
      });
      await hodei.event(id, says(/evict|disrupt|will stop/iu));
      const job = await hodei.client.wait(id);
      expect(job.state).toBe("failed");
      expect(job.failure?.blame).not.toBe("user");
    });

    test("G9, G18: jobs outlive a kill of the server, with one result and a whole log", async () => {
      const script = "for i in $(seq 1 40); do echo line $i; sleep 0.25; done";
      const id = await hodei.submit({ script });
      await hodei.running(id);
      await hodei.server.end("SIGKILL");
      await wait(2_000); // The job goes on meanwhile.
      await hodei.server.start();
      const job = await hodei.client.wait(id);
      expect(job).toMatchObject({ state: "succeeded" });
      expect(job.attempts).toHaveLength(1);
      const lines = Array.from({ length: 40 }, (_, at) => `line ${at + 1}\n`);
      expect(await hodei.output(id)).toBe(lines.join(""));
    });

    test("a second start changes no object of the infrastructure", async () => {
      const read = async (): Promise<readonly (string | undefined)[]> => {
        const { namespace } = hodei;
        const lists = await Promise.all([
          ground.core.listNamespacedServiceAccount({ namespace }),
          ground.core.listNamespacedResourceQuota({ namespace }),
          ground.core.listNamespacedLimitRange({ namespace }),
          ground.rbac.listNamespacedRole({ namespace }),
          ground.rbac.listNamespacedRoleBinding({ namespace }),
          ground.network.listNamespacedNetworkPolicy({ namespace }),
        ]);
        const own = await ground.core.readNamespace({ name: namespace });
        return [
          own.metadata?.resourceVersion,
          ...lists.flatMap((list) =>
            list.items
              // Their status follows the pods of the tests before.
              .filter(({ kind }) => kind !== "ResourceQuota")
              .map(({ metadata }) => `${metadata?.name} ${metadata?.resourceVersion}`),
          ),
        ];
      };
      await hodei.isClean();
      const before = await settled(read);
      expect(before.length).toBeGreaterThan(4);
      await hodei.server.end("SIGTERM");
      await hodei.server.start();
      expect(await settled(read)).toEqual(before);
    });

    test("a hundred jobs at once each run once", async () => {
      const ids = await Promise.all(
        Array.from({ length: 100 }, (_, at) => hodei.submit({ command: ["echo", `job ${at}`] })),
      );
      const outputs = await Promise.all(
        ids.map(async (id) => {
          const job = await hodei.client.wait(id);
          return [job.failure?.message ?? job.state, await hodei.output(id)];
        }),
      );
      expect(outputs).toEqual(ids.map((_, at) => ["succeeded", `job ${at}\n`]));
    }, 900_000);
  });

  tenants(name, open);
}

/** Waits until two looks in a row are the same. */
async function settled<Value>(read: () => Promise<Value>): Promise<Value> {
  let last = await read();
  await vi.waitFor(
    async () => {
      const before = last;
      last = await read();
      expect(last).toEqual(before);
    },
    { timeout: 30_000, interval: 1_000 },
  );
  return last;
}

function tenants(name: string, open: () => Promise<Cluster>): void {
  describe(`tenants on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      hodei = await ground.start({ env: { HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "1" } });
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);
    afterEach(() => hodei.isClean(), hookMs);

    test("each tenant gets a namespace with everything in it, on first use", async () => {
      const id = await hodei.submit({ command: ["sleep", "60"] }, "acme");
      await hodei.running(id);
      const { metadata } = await hodei.pod(id);
      const namespace = metadata?.namespace ?? "";
      expect(namespace).toBe(`${hodei.namespace}-t-acme`);
      expect(metadata?.labels).toMatchObject({ "hodei.io/tenant-id": "acme" });
      const { metadata: own } = await ground.core.readNamespace({ name: namespace });
      expect(own?.labels).toMatchObject({
        "pod-security.kubernetes.io/enforce": "restricted",
        "hodei.io/managed": "true",
      });
      const lists = await Promise.all([
        ground.core.listNamespacedResourceQuota({ namespace }),
        ground.core.listNamespacedLimitRange({ namespace }),
        ground.rbac.listNamespacedRole({ namespace }),
        ground.rbac.listNamespacedRoleBinding({ namespace }),
        ground.network.listNamespacedNetworkPolicy({ namespace }),
      ]);
      for (const list of lists) expect(list.items.length).toBeGreaterThan(0);
      await hodei.client.cancel(id);
      await hodei.client.wait(id);
    });

    test("G9: a tenant's job outlives a kill of the server, and its namespace is known again", async () => {
      const script = "for i in $(seq 1 30); do echo line $i; sleep 0.2; done";
      const id = await hodei.submit({ script }, "acme");
      await hodei.running(id);
      await hodei.server.end("SIGKILL");
      await hodei.server.start();
      const job = await hodei.client.wait(id);
      expect(job).toMatchObject({ state: "succeeded", attempts: [{ number: 1 }] });
      const lines = Array.from({ length: 30 }, (_, at) => `line ${at + 1}\n`);
      expect(await hodei.output(id)).toBe(lines.join(""));
      const { output } = await hodei.run({ command: ["echo", "again"] }, "acme");
      expect(output).toBe("again\n");
    });

    test("G24: a quota that is used up is told with its numbers, before there is a pod", async () => {
      const { output } = await hodei.run({ command: ["echo", "first"] }, "small");
      expect(output).toBe("first\n");
      const namespace = `${hodei.namespace}-t-small`;
      await ground.core.createNamespacedResourceQuota({
        namespace,
        body: { metadata: { name: "none" }, spec: { hard: { pods: "0" } } },
      });
      await vi.waitFor(async () => {
        const quota = await ground.core.readNamespacedResourceQuota({ name: "none", namespace });
        expect(quota.status?.hard).toBeDefined();
      }, patience);
      const id = await hodei.submit({ command: ["true"] }, "small");
      const told = await hodei.event(id, (event) => event.failure?.blame === "quota");
      expect(told.message).toMatch(/exceeded quota/u);
      await hodei.client.cancel(id);
    });
  });
}

function says(pattern: RegExp): (event: JobEvent) => boolean {
  return ({ message }) => pattern.test(message);
}
