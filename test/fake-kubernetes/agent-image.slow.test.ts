import { expect, test } from "vitest";

import { ScriptedServer } from "../fake/server.ts";
import { agentImage, agentImageName } from "../fake/kubernetes/kubelet-images.ts";
import { World, eventually, namespace, waitsFor } from "./world.ts";

const mounts = [
  { name: "work", mountPath: "/home/hodei" },
  { name: "tmp", mountPath: "/tmp" },
  { name: "credentials", mountPath: "/var/run/hodei", readOnly: true },
];

function openWorld(): World {
  const world = new World({ images: { [agentImageName]: agentImage() } });
  const data = { otp: Buffer.from("one-time").toString("base64") };
  world.objects.create("secrets", { metadata: { name: "w1", namespace }, data });
  return world;
}

function createWorker(world: World, address: string): void {
  const env = {
    HODEI_WORKER_ID: "w1",
    HODEI_SERVER_ADDRESS: address,
    HODEI_OTP_FILE: "/var/run/hodei/otp",
    HODEI_AGENT_WORK_DIR: "/home/hodei",
  };
  world.objects.create("pods", {
    metadata: { name: "w1", namespace },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 5,
      securityContext: { runAsUser: 1000, runAsGroup: 1000, runAsNonRoot: true, fsGroup: 1000 },
      volumes: [
        { name: "work", emptyDir: {} },
        { name: "tmp", emptyDir: {} },
        { name: "credentials", secret: { secretName: "w1", defaultMode: 0o440 } },
      ],
      containers: [
        {
          name: "worker",
          image: agentImageName,
          env: Object.entries(env).map(([name, value]) => ({ name, value })),
          resources: { limits: { memory: "1Gi" } },
          terminationMessagePolicy: "FallbackToLogsOnError",
          volumeMounts: mounts,
        },
      ],
    },
    status: { phase: "Pending" },
  });
}

test("runs the product's agent, which dials back with what was mounted and runs a job", async () => {
  await using server = await ScriptedServer.open();
  await using world = openWorld();
  createWorker(world, server.address);
  await server.connected();
  expect(server.redeems).toMatchObject([{ workerId: "w1", otp: "one-time" }]);
  server.assign("a1", { command: ["sh", "-c", "echo from a pod; pwd"] });
  expect(await server.result("a1")).toMatchObject({ exitCode: 0 });
  await eventually(() => expect(server.output("a1").toString()).toContain("from a pod\n"));
  world.deletePod("w1");
  await world.untilGone("w1");
});

test("lets an agent that cannot start be seen in its pod", async () => {
  await using world = openWorld();
  world.objects.delete("secrets", { name: "w1", namespace });
  createWorker(world, "127.0.0.1:1");
  await eventually(() => expect(world.reasons("w1")).toContain("FailedMount"));
  expect(waitsFor("ContainerCreating")(world.pod("w1"))).toBe(true);
  world.objects.create("secrets", { metadata: { name: "w1", namespace }, data: { otp: "" } });
  const { status } = await world.untilPhase("w1", "Failed");
  expect(status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({
    reason: "Error",
    message: expect.stringContaining("one-time token"),
  });
});
