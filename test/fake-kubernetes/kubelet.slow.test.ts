import { expect, test } from "vitest";

import { readProcess } from "#processes.ts";

import { World, eventually, namespace, waitsFor } from "./world.ts";

const isRoot = process.getuid?.() === 0;

test("gives the container its environment, with references resolved", async () => {
  await using world = new World();
  world.objects.create("secrets", {
    metadata: { name: "s", namespace },
    data: { key: Buffer.from("hidden").toString("base64") },
  });
  world.objects.create("configmaps", {
    metadata: { name: "c", namespace },
    data: { FROM_MAP: "m" },
  });
  world.createPod("env", "echo $PLAIN $SECRET $FROM_MAP $POD $NODE $BOTH", {
    container: {
      envFrom: [{ configMapRef: { name: "c" } }],
      env: [
        { name: "PLAIN", value: "p" },
        { name: "SECRET", valueFrom: { secretKeyRef: { name: "s", key: "key" } } },
        { name: "POD", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
        { name: "NODE", valueFrom: { fieldRef: { fieldPath: "spec.nodeName" } } },
        { name: "BOTH", value: "$(PLAIN)-$(NOBODY)-$$(PLAIN)" },
      ],
    },
  });
  await world.untilPhase("env", "Succeeded");
  expect(await world.log("env")).toBe("p hidden m env node1 p-$(NOBODY)-$(PLAIN)\n");
});

test("writes volumes as files, and rewrites paths in variables and arguments", async () => {
  await using world = new World();
  world.objects.create("secrets", {
    metadata: { name: "otp", namespace },
    data: { token: Buffer.from("one-time").toString("base64") },
  });
  world.createPod(
    "files",
    'cat "$OTP_FILE"; echo; echo x > "$WORK/file" && cat /scratch/file; ls /otp',
    {
      spec: {
        volumes: [
          { name: "otp", secret: { secretName: "otp" } },
          { name: "work", emptyDir: {} },
        ],
      },
      container: {
        env: [
          { name: "OTP_FILE", value: "/otp/token" },
          { name: "WORK", value: "/scratch" },
        ],
        volumeMounts: [
          { name: "otp", mountPath: "/otp" },
          { name: "work", mountPath: "/scratch" },
        ],
      },
    },
  );
  await world.untilPhase("files", "Succeeded");
  expect(await world.log("files")).toBe("one-time\nx\ntoken\n");
});

test("keeps a secret of mode 0400 from a user that is not root, but not with a group for its files", async () => {
  await using world = new World();
  world.objects.create("secrets", {
    metadata: { name: "otp", namespace },
    data: { token: "b3Rw" },
  });
  for (const [name, fsGroup] of [
    ["without", undefined],
    ["with", 1000],
  ] as const) {
    world.createPod(name, "cat /otp/token || echo unreadable", {
      spec: {
        securityContext: {
          runAsUser: 1000,
          runAsGroup: 1000,
          ...(fsGroup === undefined ? {} : { fsGroup }),
        },
        volumes: [{ name: "otp", secret: { secretName: "otp", defaultMode: 0o400 } }],
      },
      container: { volumeMounts: [{ name: "otp", mountPath: "/otp" }] },
    });
    await world.untilPhase(name, "Succeeded");
  }
  expect(await world.log("without")).toContain("unreadable");
  expect(await world.log("with")).toBe("otp");
});

test.runIf(isRoot)("runs a container as the user that its pod names", async () => {
  await using world = new World();
  world.createPod("user", "id -u; id -g", {
    spec: { securityContext: { runAsUser: 1000, runAsGroup: 2000 } },
  });
  await world.untilPhase("user", "Succeeded");
  expect(await world.log("user")).toBe("1000\n2000\n");
});

test("shows a changed secret in the volume of a running container", async () => {
  await using world = new World();
  world.objects.create("configmaps", {
    metadata: { name: "ca", namespace },
    data: { "ca.crt": "old" },
  });
  world.createPod(
    "rotation",
    "until grep -q new /ca/ca.crt; do sleep 0.05; done; ls -A /ca | wc -l",
    {
      spec: { volumes: [{ name: "ca", projected: { sources: [{ configMap: { name: "ca" } }] } }] },
      container: { volumeMounts: [{ name: "ca", mountPath: "/ca" }] },
    },
  );
  await world.untilPhase("rotation", "Running");
  world.objects.mutate("configmaps", { name: "ca", namespace }, (map) => {
    map.data = { "ca.crt": "new" };
  });
  await world.untilPhase("rotation", "Succeeded");
  // The file, the link to the data, and the data.
  expect((await world.log("rotation")).trim()).toBe("3");
});

test("mounts a token that is bound to the pod", async () => {
  await using world = new World();
  const { metadata } = world.createPod("token", "cat /var/run/secrets/hodei/token", {
    spec: {
      serviceAccountName: "default",
      volumes: [
        {
          name: "t",
          projected: {
            sources: [
              { serviceAccountToken: { path: "token", audience: "hodei", expirationSeconds: 600 } },
            ],
          },
        },
      ],
    },
    container: { volumeMounts: [{ name: "t", mountPath: "/var/run/secrets/hodei" }] },
  });
  await world.untilPhase("token", "Succeeded");
  const token = await world.log("token");
  expect(world.tokens.review(token, ["hodei"])).toMatchObject({
    user: {
      name: `system:serviceaccount:${namespace}:default`,
      extra: {
        "authentication.kubernetes.io/pod-name": ["token"],
        "authentication.kubernetes.io/pod-uid": [metadata.uid],
        "authentication.kubernetes.io/node-name": ["node1"],
      },
    },
  });
  world.deletePod("token");
  await world.untilGone("token");
  expect(world.tokens.review(token, ["hodei"])).toHaveProperty("error");
});

test("kills what the container's first process leaves behind, whatever session it is in", async () => {
  await using world = new World();
  world.createPod(
    "orphans",
    "setsid sh -c 'echo $$$$; exec sleep 60' & while :; do sleep 0.05; done",
  );
  await world.untilPhase("orphans", "Running");
  const pid = await eventually(async () => {
    const text = (await world.log("orphans")).trim();
    if (text === "") throw new Error("no pid yet");
    return Number(text);
  });
  expect(readProcess(pid)).toBeDefined();
  world.deletePod("orphans");
  await world.untilGone("orphans");
  await eventually(() => expect(readProcess(pid)?.isZombie ?? true).toBe(true));
});

test("starts the container once a pull succeeds after others that failed", async () => {
  await using world = new World({
    images: { "late:1": { pull: ["busy", "broken", "ok"], command: ["echo", "here"] } },
  });
  world.objects.create("pods", {
    metadata: { name: "late", namespace },
    spec: { restartPolicy: "Never", containers: [{ name: "worker", image: "late:1" }] },
    status: { phase: "Pending" },
  });
  await world.untilPhase("late", "Succeeded");
  expect(await world.log("late")).toBe("here\n");
  expect(world.reasons("late")).toEqual(
    expect.arrayContaining(["Pulling", "Failed", "BackOff", "Pulled", "Created", "Started"]),
  );
});

test("lets a pod go whose image is pulled for ever", async () => {
  await using world = new World({ images: { "slow:1": { pull: "never_ends" } } });
  world.createPod("slow", "true", { container: { image: "slow:1" } });
  await eventually(() => expect(world.reasons("slow")).toContain("Pulling"));
  expect(waitsFor("ContainerCreating")(world.pod("slow"))).toBe(true);
  world.deletePod("slow");
  await world.untilGone("slow");
});

test("starts the container once the secret that it needs has come", async () => {
  await using world = new World();
  world.createPod("early", "cat /s/k", {
    spec: { volumes: [{ name: "s", secret: { secretName: "later" } }] },
    container: { volumeMounts: [{ name: "s", mountPath: "/s" }] },
  });
  await eventually(() => expect(world.reasons("early")).toContain("FailedMount"));
  world.objects.create("secrets", { metadata: { name: "later", namespace }, data: { k: "djE=" } });
  await world.untilPhase("early", "Succeeded");
  expect(await world.log("early")).toBe("v1");
});

test("says that an image's program refuses to start", async () => {
  await using world = new World({
    images: { "bad:1": { startError: "exec format error", command: ["x"] } },
  });
  world.createPod("bad", "true", { container: { image: "bad:1" } });
  const { status } = await world.untilPhase("bad", "Failed");
  expect(status?.containerStatuses?.[0]?.state?.terminated).toMatchObject({
    exitCode: 128,
    reason: "StartError",
    message: "exec format error",
  });
});

test("restarts a sidecar that crashes, and says so", async () => {
  await using world = new World();
  world.createPod("crashing", "sleep 60", {
    spec: {
      initContainers: [
        {
          name: "db",
          image: "alpine:latest",
          restartPolicy: "Always",
          command: ["sh", "-c", "exit 3"],
        },
      ],
    },
  });
  const pod = await world.until(
    "crashing",
    ({ status }) => (status?.initContainerStatuses?.[0]?.restartCount ?? 0) > 0,
  );
  expect(pod.status?.initContainerStatuses?.[0]?.lastState?.terminated?.exitCode).toBe(3);
  expect(world.reasons("crashing")).toContain("BackOff");
});

test("ends a pod for want of memory on the node as evicted, with the mark before", async () => {
  await using world = new World();
  world.createPod("evicted", "trap 'exit 0' TERM; while :; do sleep 0.05; done");
  await eventually(() =>
    expect(world.machines.process({ name: "evicted", namespace }, "worker")?.heedsTerm).toBe(true),
  );
  world.machines.evictByPressure({ name: "evicted", namespace });
  const { status } = await world.untilPhase("evicted", "Failed");
  expect(status).toMatchObject({
    reason: "Evicted",
    message: expect.stringContaining("low on resource"),
  });
  expect(status?.conditions).toContainEqual(
    expect.objectContaining({ type: "DisruptionTarget", reason: "TerminationByKubelet" }),
  );
});

test("gives the end of a log, and follows it to its end", async () => {
  await using world = new World();
  world.createPod("log", "for i in 1 2 3; do echo line $i; done; sleep 0.2; echo last >&2");
  await world.untilPhase("log", "Running");
  const where = { name: "log", namespace };
  const lines: string[] = [];
  for await (const line of world.machines.readLog(where, "worker", {
    follow: true,
    timestamps: true,
  }) ?? []) {
    lines.push(line.toString());
  }
  expect(lines).toHaveLength(4);
  expect(lines[3]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z last\n$/);
  const tail: string[] = [];
  for await (const line of world.machines.readLog(where, "worker", { tailLines: 2 }) ?? []) {
    tail.push(line.toString());
  }
  expect(tail).toEqual(["line 3\n", "last\n"]);
});

test("kills at once what is deleted by force, and forgets it", async () => {
  await using world = new World();
  world.createPod("forced", "trap '' TERM; while :; do sleep 0.05; done");
  await world.untilPhase("forced", "Running");
  world.deletePod("forced", 0);
  expect(world.find("forced")).toBeUndefined();
  world.createPod("forced", "echo again");
  await world.untilPhase("forced", "Succeeded");
  expect(await world.log("forced")).toBe("again\n");
});
