import { Metadata } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { type Caller, createAuthenticator } from "#api/authenticate.ts";
import { JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";
import { hashSecret } from "#worker/secret.ts";

const secret = `hodei_t1_${"s".repeat(43)}`;
const other = `hodei_t2_${"s".repeat(43)}`;
const listener = { isLoopback: true };

/** One of several servers, which all have this store. */
function serverOn(store: Store) {
  return createAuthenticator({
    store,
    adminTokenHash: undefined,
    subjects: undefined,
    admitAgent: () => Promise.reject(new Error("no agents here")),
    now: Date.now,
    onRefused: () => undefined,
  });
}

async function makeToken(store: Store, id: string, text: string): Promise<void> {
  const token = {
    id,
    subject: "ci",
    tenant: "default",
    role: "viewer" as const,
    createdAt: Date.now(),
    expiresAt: undefined,
    revokedAt: undefined,
  };
  await store.putToken(token, hashSecret(text));
}

function callWith(token: string | undefined) {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  const method = JobServiceService.watchJob.path;
  const peer = { peer: "127.0.0.1:1", authContext: () => ({}) };
  return { method, metadata, ...peer, correlationId: "c", log: createLogger("silent") };
}

test("the open streams of a token that another server revoked end, those of other tokens go on", async () => {
  await using store = openMemoryStore();
  await makeToken(store, "t1", secret);
  await makeToken(store, "t2", other);
  const here = await serverOn(store);
  const ended: string[] = [];
  for (const text of [secret, other]) {
    const caller: Caller = await here.admit(callWith(text), listener);
    here.watch(caller, () => ended.push(text));
  }
  await here.followOthers();
  expect(ended).toEqual([]);
  await store.revokeToken("t1", Date.now());
  await here.followOthers();
  expect(ended).toEqual([secret]);
  await expect(async () => here.admit(callWith(secret), listener)).rejects.toMatchObject({
    code: "unauthenticated",
  });
});

test("a store that does not answer ends no stream", async () => {
  await using store = openMemoryStore();
  await makeToken(store, "t1", secret);
  const broken = { isBroken: false };
  const here = await serverOn({
    ...store,
    findToken: (id) =>
      broken.isBroken ? Promise.reject(new Error("it is away")) : store.findToken(id),
    listTokens: (query) => store.listTokens(query),
  });
  let hasEnded = false;
  here.watch(await here.admit(callWith(secret), listener), () => (hasEnded = true));
  broken.isBroken = true;
  await expect(here.followOthers()).rejects.toThrow("it is away");
  expect(hasEnded).toBe(false);
});

test("the first token that another server made closes this one for strangers", async () => {
  await using store = openMemoryStore();
  const here = await serverOn(store);
  expect(here.admit(callWith(undefined), listener)).toMatchObject({ subject: "anonymous" });
  await makeToken(store, "t1", secret);
  await here.followOthers();
  expect(() => here.admit(callWith(undefined), listener)).toThrow(/no valid credential/);
});
