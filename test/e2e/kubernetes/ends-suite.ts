import type { V1Pod } from "@kubernetes/client-node";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { type Cluster, Ground, hookMs, openMs, type Running, testMs } from "./ground.ts";

const patience = { timeout: 120_000, interval: 100 };

/** How workers end that do not end by themselves. */
export function endsSuite(name: string, open: () => Promise<Cluster>): void {
  describe(`ends of pods on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      hodei = await ground.start({ env: { HODEI_K8S_TTL_SECONDS_AFTER_FINISHED: "20" } });
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);
    afterEach(() => hodei.isClean(), hookMs);

    test("a job that kills its agent is told so, with what the kubelet has of it, and the pod stays for its time", async () => {
      const id = await hodei.submit({ script: "echo before; sleep 1; kill -9 $PPID; sleep 30" });
      const job = await hodei.client.wait(id);
      expect(job).toMatchObject({ state: "failed", failure: { cause: "worker_died" } });
      expect(job.failure?.userCodeMayHaveRun).toBe(true);
      expect(await hodei.output(id)).toBe("before\n");
      expect(await hodei.output(id, "system")).toContain("agent started");
      // The kubelet tells of the container before it tells of the pod; `isClean` waits for the pod's end.
      await vi.waitFor(
        async () => expect((await hodei.pod(id)).status?.phase).toBe("Failed"),
        patience,
      );
    });

    test("a failed job's pod runs on for as long as the job asked, and then goes", async () => {
      const id = await hodei.submit({ script: "exit 3", holdMs: 6_000 });
      expect(await hodei.client.wait(id)).toMatchObject({ state: "failed", exitCode: 3 });
      const pod = await hodei.pod(id);
      expect(pod.status?.phase).toBe("Running");
      expect(pod.metadata?.deletionTimestamp).toBeUndefined();
    });

    test("G12: a server that is killed while it makes pods runs their jobs, and leaves no pod", async () => {
      const ids = await Promise.all(
        Array.from({ length: 4 }, (_, at) => hodei.submit({ command: ["echo", `job ${at}`] })),
      );
      await vi.waitFor(
        async () => expect(await ground.leftovers(hodei.namespace)).not.toEqual([]),
        { timeout: 30_000, interval: 20 },
      );
      await hodei.server.end("SIGKILL");
      await hodei.server.start();
      const states = await Promise.all(ids.map(async (id) => (await hodei.client.wait(id)).state));
      expect(states).toEqual(ids.map(() => "succeeded"));
    });

    test("G12: a pod of ours that no server knows is removed", async () => {
      const id = await hodei.submit({ command: ["sleep", "60"] });
      await hodei.running(id);
      await ground.core.createNamespacedPod({
        namespace: hodei.namespace,
        body: strayOf(await hodei.pod(id)),
      });
      await vi.waitFor(async () => {
        const pods = await ground.leftovers(hodei.namespace);
        expect(pods.filter((pod) => pod.includes(strayId))).toEqual([]);
      }, patience);
      expect((await hodei.client.get(id)).state).toBe("running");
      await hodei.client.cancel(id);
      await hodei.client.wait(id);
    });

    test.for([
      ["hodei.io/managed", "no"],
      ["app.kubernetes.io/name", "x"],
      ["not a key", "x"],
    ] as const)("the label %s of a user is refused", async ([key, value]) => {
      const wrong = hodei.submit({ command: ["true"], labels: { [key]: value } });
      await expect(wrong).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    });
  });

  attested(name, open);
}

const strayId = "w00000000001";

/** What an earlier server may have made, and never have written down. */
function strayOf({ metadata, spec }: V1Pod): V1Pod {
  return {
    metadata: {
      name: `hodei-worker-${strayId}`,
      labels: { ...metadata?.labels, "hodei.io/worker-id": strayId },
    },
    spec: {
      restartPolicy: "Never",
      automountServiceAccountToken: false,
      ...(spec?.securityContext && { securityContext: spec.securityContext }),
      containers: (spec?.containers ?? []).map(({ image, securityContext }) => ({
        name: "worker",
        image: image ?? "",
        imagePullPolicy: "IfNotPresent",
        command: ["sleep", "600"],
        ...(securityContext && { securityContext }),
      })),
    },
  };
}

function attested(name: string, open: () => Promise<Cluster>): void {
  describe(`attestation on ${name}`, { timeout: testMs }, () => {
    let ground: Ground;
    let hodei: Running;

    beforeAll(async () => {
      ground = new Ground(await open());
      hodei = await ground.start({ env: { HODEI_K8S_ATTESTATION: "1" } });
    }, openMs);
    afterAll(() => ground[Symbol.asyncDispose](), hookMs);
    afterEach(() => hodei.isClean(), hookMs);

    test("G15: a pod proves itself by the cluster's token: no Secret, and three calls for a job", async () => {
      const secrets: string[] = [];
      const before = ground.cluster.changes?.() ?? [];
      const id = await hodei.submit({ command: ["echo", "attested"] });
      for await (const _event of hodei.client.watch(id)) {
        const left = await ground.leftovers(hodei.namespace);
        secrets.push(...left.filter((one) => one.startsWith("secret")));
      }
      expect(await hodei.client.get(id)).toMatchObject({ state: "succeeded" });
      expect(await hodei.output(id)).toBe("attested\n");
      expect(secrets).toEqual([]);
      await hodei.isClean();
      if (ground.cluster.changes === undefined) return;
      const calls = ground.cluster.changes().slice(before.length);
      expect(calls).toEqual(["create pods", "create tokenreviews", "delete pods"]);
    });
  });
}
