import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { startFleet } from "./fleet.ts";
import { expectRanOnce, note, outputOf, untilNoted, untilState } from "./ledger.ts";
import { freePort, ServerProcess } from "./server-process.ts";

// What servers on one Redis have together: providers, their authority, tokens.

const patient = { timeout: 30_000, interval: 100 };

test("what is done to a provider at one server holds at the other, and both explain a job alike", async () => {
  const fleet = await startFleet(2);
  const leader = await fleet.waitForLeader([0, 1]);
  const [leads, follows] = [fleet.client(leader), fleet.client(1 - leader)];
  await follows.providers.register({ name: "extra", type: "process", maxWorkers: 1 });
  const seen = async (client: HodeiClient) =>
    (await client.providers.list()).find(({ name }) => name === "extra");
  for (const client of [leads, follows]) {
    await vi.waitFor(
      async () => expect(await seen(client)).toMatchObject({ isEnabled: true, health: "healthy" }),
      patient,
    );
  }
  const { id } = await follows.submit({ command: ["sleep", "600"], provider: "extra" });
  await untilState(leads, id, "running");
  const { id: waits } = await leads.submit({ command: ["true"], provider: "extra" });
  await leads.providers.disable("extra", { reason: "for now" });
  for (const client of [leads, follows]) {
    await vi.waitFor(
      async () => expect(await seen(client)).toMatchObject({ isEnabled: false }),
      patient,
    );
    const { providers } = await client.explain(waits);
    expect(providers.find(({ provider }) => provider === "extra")).toMatchObject({
      isEligible: false,
      circuit: "closed",
    });
  }
  await follows.providers.enable("extra");
  await leads.cancel(id);
  expect(await follows.wait(waits)).toMatchObject({ state: "succeeded" });
  await vi.waitFor(() => follows.providers.remove("extra"), patient);
  await vi.waitFor(async () => expect(await seen(leads)).toBeUndefined(), patient);
});

test("servers that make their own certificates have one authority, and their workers trust each of them", async () => {
  const key = Buffer.alloc(32, 7).toString("base64");
  const token = "the-token-of-the-first-admin";
  const tls = {
    HODEI_TLS_AUTO: "1",
    HODEI_ENCRYPTION_KEY: key,
    HODEI_ADMIN_TOKEN: token,
  };
  const fleet = await startFleet(2, tls);
  const [one, two] = fleet.servers;
  if (one === undefined || two === undefined) throw new Error("no servers");
  const ca = readFileSync(one.caFile);
  expect(readFileSync(two.caFile)).toEqual(ca);
  const address = fleet.servers.map((server) => server.address).join(",");
  await using client = new HodeiClient({ address, ca, token });
  const ledger = join(fleet.directory, "ledger");
  const { id } = await client.submit({
    script: `${note("start", ledger)}; for i in $(seq 1 80); do echo $i; ${note("line", ledger)}; sleep 0.1; done`,
  });
  await untilNoted(ledger, "line");
  // Whichever it is connected to, it has to go to the other.
  await one.end("SIGKILL");
  await untilNoted(ledger, "line", 15);
  await one.start();
  await two.end("SIGKILL");
  const text = Array.from({ length: 80 }, (_, at) => `${at + 1}\n`).join("");
  await expectRanOnce(client, { id, ledger, text });
  const other = { ...two.env, HODEI_ENCRYPTION_KEY: Buffer.alloc(32, 8).toString("base64") };
  const refused = ServerProcess.startAt(await freePort(), {
    ...other,
    HODEI_DATA_DIRECTORY: join(fleet.directory, "stranger"),
    HODEI_LISTEN_ADDRESS: "127.0.0.1:0",
    HODEI_HTTP_ADDRESS: `127.0.0.1:${await freePort()}`,
  });
  await expect(refused).rejects.toThrow(
    /HODEI_ENCRYPTION_KEY: is not the key of the other servers/,
  );
});

test("a token that is revoked at one server is worth nothing at the other, and its open streams there end", async () => {
  const token = "the-token-of-the-first-admin";
  const fleet = await startFleet(2, { HODEI_ADMIN_TOKEN: token });
  const [one = "", two = ""] = fleet.servers.map(({ address }) => address);
  await using admin = new HodeiClient({ address: one, token });
  const spec = { subject: "ci", tenant: "default", role: "viewer" } as const;
  const [made, kept] = [await admin.tokens.create(spec), await admin.tokens.create(spec)];
  const { id } = await admin.submit({ command: ["sleep", "600"] });
  const retry = { maxRetries: 0, outageMs: 0 };
  await using client = new HodeiClient({ address: two, token: made.secret, retry });
  await using other = new HodeiClient({ address: two, token: kept.secret, retry });
  const follow = async (by: HodeiClient): Promise<void> => {
    for await (const event of by.watch(id)) void event;
  };
  const streams = [follow(client), outputOf(client, id, { follow: true })];
  const goesOn = follow(other);
  await Promise.all([client.get(id), other.get(id)]);
  await admin.tokens.revoke(made.token.id);
  for (const outcome of await Promise.allSettled(streams)) {
    expect(outcome).toMatchObject({ status: "rejected", reason: { code: "UNAUTHENTICATED" } });
  }
  await expect(client.get(id)).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
  await admin.cancel(id);
  // The stream of the other token saw it through.
  await goesOn;
});
