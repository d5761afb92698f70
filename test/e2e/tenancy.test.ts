import { afterAll, beforeAll, expect, test } from "vitest";
import type { HodeiClient, Job, Role } from "#client/client.ts";
import { recordsOf } from "./ledger.ts";
import { clientForTest, ServerProcess } from "./server-process.ts";

const adminToken = "the-first-admin-of-this-server";
let server: ServerProcess;
let admin: HodeiClient;
let red: HodeiClient;
let job: Job;

beforeAll(async () => {
  server = await ServerProcess.start({ HODEI_ADMIN_TOKEN: adminToken });
  admin = server.client(adminToken);
  red = server.client((await tokenOf("red", "operator")).secret);
  const { id } = await red.submit({ command: ["echo", "secret of red"], labels: { of: "red" } });
  job = await red.wait(id);
});

afterAll(async () => {
  red.close();
  admin.close();
  await server[Symbol.asyncDispose]();
});

function tokenOf(tenant: string, role: Role) {
  return admin.tokens.create({ subject: `${role} of ${tenant}`, tenant, role });
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}

const calls: readonly {
  readonly what: string;
  readonly call: (client: HodeiClient) => Promise<unknown>;
}[] = [
  { what: "get", call: (client) => client.get(job.id) },
  { what: "watch", call: (client) => all(client.watch(job.id)) },
  { what: "logs", call: (client) => recordsOf(client, job.id) },
  { what: "follow", call: (client) => recordsOf(client, job.id, { follow: true }) },
  { what: "cancel", call: (client) => client.cancel(job.id) },
  { what: "explain", call: (client) => client.explain(job.id) },
];

test.for(calls)(
  "G16 $what of another tenant's job is answered NOT_FOUND",
  async ({ what, call }) => {
    // What a viewer may not do at all is refused before anybody looks at the id.
    const roles: readonly Role[] = what === "cancel" ? [] : ["viewer"];
    for (const role of [...roles, "submitter", "operator"] as const) {
      const blue = clientForTest(server, (await tokenOf("blue", role)).secret);
      await expect(call(blue)).rejects.toMatchObject({ code: "NOT_FOUND" });
    }
  },
);

test("G16 a list holds the caller's tenant alone, whatever it asks for", async () => {
  const { secret } = await tokenOf("blue", "submitter");
  const blue = clientForTest(server, secret);
  const { id } = await blue.submit({ command: ["true"] });
  const listed = await all(blue.list());
  expect(new Set(listed.map(({ tenant }) => tenant))).toEqual(new Set(["blue"]));
  expect(listed.some((one) => one.id === id)).toBe(true);
  expect(await all(blue.list({ labels: { of: "red" } }))).toEqual([]);
  expect(await all(blue.list({ text: job.id }))).toEqual([]);
  await expect(all(blue.list({ tenant: "red" }))).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
  });
  await expect(blue.submit({ command: ["true"] }, { tenant: "red" })).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
  });
  await blue.wait(id);
});

test("G16 an idempotency key belongs to its tenant", async () => {
  const blue = clientForTest(server, (await tokenOf("blue", "submitter")).secret);
  const spec = { command: ["true"] };
  const [one, other] = await Promise.all([
    red.submit(spec, { idempotencyKey: "same" }),
    blue.submit(spec, { idempotencyKey: "same" }),
  ]);
  expect(one?.id).not.toBe(other?.id);
});

test("a token that was revoked is refused at once, also after a restart, and others are not", async () => {
  const { token, secret } = await tokenOf("green", "submitter");
  const green = clientForTest(server, secret);
  await green.submit({ command: ["true"] });
  await admin.tokens.revoke(token.id);
  await expect(all(green.list())).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  await server.end("SIGKILL");
  await server.start();
  await expect(all(green.list())).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  expect((await red.get(job.id)).id).toBe(job.id);
});

test.for([
  { what: "no token", token: "" },
  { what: "a wrong token", token: "this-is-not-the-admin-of-it" },
  { what: "a token of the right shape", token: `hodei_abc_${"A".repeat(43)}` },
])("with $what nothing is answered", async ({ token }) => {
  const stranger = clientForTest(server, token);
  const answers = await Promise.allSettled([
    stranger.submit({ command: ["true"] }),
    all(stranger.list()),
    stranger.get(job.id),
    all(stranger.workers.list()),
    all(stranger.tokens.list()),
    all(stranger.audit.list()),
    stranger.providers.list(),
  ]);
  for (const answer of answers) {
    expect(answer).toMatchObject({ status: "rejected", reason: { code: "UNAUTHENTICATED" } });
  }
});

test("every change is in the audit list with who made it", async () => {
  const entries = await all(admin.audit.list({ target: job.id }));
  expect(entries.map(({ actor }) => actor)).toContain("operator of red");
  await expect(all(red.audit.list())).rejects.toMatchObject({ code: "PERMISSION_DENIED" });
});
