import { randomUUID } from "node:crypto";
import { expect, test, vi } from "vitest";
import { attestWorker } from "#provider/kubernetes/attest.ts";
import type { Call, Connection } from "#provider/kubernetes/connection.ts";
import { type Gateway, startGateway } from "../../fake/gateway.ts";
import { agentImage, agentImageName } from "../../fake/kubernetes/kubelet-images.ts";
import { namespace, World } from "../../fake-kubernetes/world.ts";

// The real agent in a pod of the kubelet double, which projects tokens; the agents' side of a real server; reviews by the double.

const serviceAccount = "hodei-worker";
const audience = "hodei";

/** Answers reviews as the API server does. */
function reviewer(world: World): Connection {
  const request = async ({ body }: Call): Promise<unknown> => {
    const { token, audiences } = (body as { spec: { token: string; audiences: string[] } }).spec;
    const answer = world.tokens.review(token, audiences);
    if ("error" in answer) return { status: { user: {}, error: answer.error } };
    const { name: username, ...user } = answer.user;
    const { audiences: common } = answer;
    return { status: { authenticated: true, user: { username, ...user }, audiences: common } };
  };
  return { request } as Pick<Connection, "request"> as Connection;
}

function openWorld(): World {
  const world = new World({ images: { [agentImageName]: agentImage() } });
  world.objects.create("serviceaccounts", { metadata: { name: serviceAccount, namespace } });
  return world;
}

function createWorker(world: World, name: string, address: string, workerId = name): string {
  const env = {
    HODEI_WORKER_ID: workerId,
    HODEI_SERVER_ADDRESS: address,
    HODEI_ATTESTATION_FILE: "/var/run/hodei/token",
    HODEI_AGENT_WORK_DIR: "/home/hodei",
  };
  const token = { audience, expirationSeconds: 600, path: "token" };
  const pod = world.objects.create("pods", {
    metadata: { name, namespace },
    spec: {
      restartPolicy: "Never",
      terminationGracePeriodSeconds: 5,
      serviceAccountName: serviceAccount,
      volumes: [
        { name: "work", emptyDir: {} },
        { name: "token", projected: { sources: [{ serviceAccountToken: token }] } },
      ],
      containers: [
        {
          name: "worker",
          image: agentImageName,
          env: Object.entries(env).map(([key, value]) => ({ name: key, value })),
          resources: { limits: { memory: "1Gi" } },
          volumeMounts: [
            { name: "work", mountPath: "/home/hodei" },
            { name: "token", mountPath: "/var/run/hodei", readOnly: true },
          ],
        },
      ],
    },
    status: { phase: "Pending" },
  });
  return pod.metadata.uid;
}

/** A gateway that lets a worker in by its pod's token. */
async function attesting(world: World, uids: Map<string, string>): Promise<Gateway> {
  const connection = reviewer(world);
  return startGateway({
    auth: {
      attest: async (id, token) => {
        const podUid = uids.get(id) ?? randomUUID();
        return attestWorker(connection, { token, audience, namespace, serviceAccount, podUid });
      },
    },
  });
}

test("G15: an agent proves by its pod's token that it is the worker, and runs its job", async () => {
  await using world = openWorld();
  const uids = new Map<string, string>();
  await using gateway = await attesting(world, uids);
  const { id } = await gateway.plan();
  uids.set(id, createWorker(world, id, gateway.address));
  const [job] = await gateway.submit(1, { command: ["true"] });
  await vi.waitFor(
    async () => expect((await gateway.job(job ?? "")).state).toBe("succeeded"),
    20_000,
  );
  world.deletePod(id);
  await world.untilGone(id);
});

test("G15: another pod of the same account is not let in, and a token ends with its pod", async () => {
  await using world = openWorld();
  const uids = new Map<string, string>();
  await using gateway = await attesting(world, uids);
  const { id } = await gateway.plan();
  uids.set(id, randomUUID());
  const thiefUid = createWorker(world, "thief", gateway.address, id);
  const { status } = await world.untilPhase("thief", "Failed");
  expect(status?.containerStatuses?.[0]?.state?.terminated?.exitCode).toBe(77);
  expect(gateway.counts.get("refused_not_attested")).toBe(1);
  const pod = { name: "thief", uid: thiefUid };
  const request = { namespace, serviceAccount, audiences: [audience], expirationSeconds: 60, pod };
  const token = world.tokens.issue(request);
  const claim = { token, audience, namespace, serviceAccount, podUid: thiefUid };
  expect(await attestWorker(reviewer(world), claim)).toBe(true);
  world.deletePod("thief");
  await world.untilGone("thief");
  expect(await attestWorker(reviewer(world), claim)).toBe(false);
});
