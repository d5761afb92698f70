import { expect, test } from "vitest";
import { type Attested, attestWorker } from "#provider/kubernetes/attest.ts";
import type { Call, Connection } from "#provider/kubernetes/connection.ts";

const podUid = "9f0c1a52-7a55-4f0e-8e65-3f2a1f2f9a10";

/** A token as a cluster projects it, with a signature that nobody checks here. */
function tokenOf(uid: string | undefined): string {
  const pod = uid === undefined ? {} : { pod: { name: "hodei-worker-w1", uid } };
  const claims = { aud: ["hodei"], "kubernetes.io": { namespace: "workers", ...pod } };
  return `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;
}

/** What a real API server says of a token that is bound to a pod. */
const good = {
  authenticated: true,
  user: {
    username: "system:serviceaccount:workers:hodei-worker",
    uid: "ab6d6f4a-b1e7-4348-826b-00f3e41de710",
    groups: ["system:serviceaccounts", "system:serviceaccounts:workers", "system:authenticated"],
    extra: {
      "authentication.kubernetes.io/credential-id": ["JTI=1d282e13-37af-4fa8-a700-e76b28bab1a1"],
      "authentication.kubernetes.io/pod-name": ["hodei-worker-w1"],
      "authentication.kubernetes.io/pod-uid": [podUid],
    } as Record<string, string[]>,
  },
  audiences: ["hodei"],
};

function clusterThatSays(status: unknown) {
  const calls: Call[] = [];
  const request = async (call: Call): Promise<unknown> => {
    calls.push(call);
    if (status instanceof Error) throw status;
    return { kind: "TokenReview", apiVersion: "authentication.k8s.io/v1", metadata: {}, status };
  };
  return { connection: { request } as Pick<Connection, "request"> as Connection, calls };
}

const worker: Attested = {
  token: tokenOf(podUid),
  audience: "hodei",
  namespace: "workers",
  serviceAccount: "hodei-worker",
  podUid,
};

test("a token of that pod, account and audience is attested by one call", async () => {
  const { connection, calls } = clusterThatSays(good);
  expect(await attestWorker(connection, worker)).toBe(true);
  expect(calls).toEqual([
    {
      method: "POST",
      path: "/apis/authentication.k8s.io/v1/tokenreviews",
      body: {
        apiVersion: "authentication.k8s.io/v1",
        kind: "TokenReview",
        spec: { token: worker.token, audiences: ["hodei"] },
      },
    },
  ]);
});

const { user } = good;
const unbound = { "authentication.kubernetes.io/credential-id": ["JTI=1"] };
test.for([
  ["rubbish", { user: {}, error: "invalid bearer token" }],
  ["of another audience", { user: {}, error: "[invalid bearer token, token audiences]" }],
  ["of no audience", { ...good, audiences: undefined }],
  ["for an audience that was not asked for", { ...good, audiences: ["other"] }],
  ["not said to be authenticated", { ...good, authenticated: undefined }],
  [
    "of another namespace",
    { ...good, user: { ...user, username: "system:serviceaccount:a:hodei-worker" } },
  ],
  [
    "of another account",
    { ...good, user: { ...user, username: "system:serviceaccount:workers:x" } },
  ],
  ["bound to no pod", { ...good, user: { ...user, extra: unbound } }],
  [
    "of another pod",
    { ...good, user: { ...user, extra: { "authentication.kubernetes.io/pod-uid": ["other"] } } },
  ],
  ["without an answer", undefined],
] as const)("a token that is %s is not attested", async ([, status]) => {
  const { connection } = clusterThatSays(status);
  expect(await attestWorker(connection, worker)).toBe(false);
});

test("what does not even claim to be the pod's costs no call", async () => {
  const { connection, calls } = clusterThatSays(good);
  for (const token of [
    "",
    "x",
    "x.y.z",
    "a.e30.c",
    "a.bnVsbA.c",
    tokenOf(undefined),
    tokenOf("b"),
  ]) {
    expect(await attestWorker(connection, { ...worker, token })).toBe(false);
  }
  expect(calls).toEqual([]);
});

test("when the cluster cannot be asked, nobody says no", async () => {
  const { connection } = clusterThatSays(new Error("forbidden"));
  await expect(attestWorker(connection, worker)).rejects.toThrow("forbidden");
});
