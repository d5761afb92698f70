import { status } from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";
import { HodeiError } from "#error.ts";
import type { WorkerId } from "#job/id.ts";
import { FakeAgent } from "../fake/agent.ts";
import { type Gateway, startGateway } from "../fake/gateway.ts";

const refused = { code: status.UNAUTHENTICATED, details: "worker credentials refused" };
const token = `e30.${"a".repeat(1_200)}.c2ln`;

let gateway: Gateway;
afterEach(() => gateway[Symbol.asyncDispose]());

async function planned() {
  const { id, otp } = await gateway.plan();
  const agent = () => new FakeAgent({ address: gateway.address, workerId: id, otp });
  return { id, agent };
}

describe("G15: attestation", () => {
  test("lets the worker in for which its provider vouches, and no second claimant", async () => {
    const asked: [WorkerId, string][] = [];
    const redeemed: WorkerId[] = [];
    gateway = await startGateway({
      auth: {
        attest: async (id, shown) => asked.push([id, shown]) > 0,
        onRedeemed: (id) => void redeemed.push(id),
      },
    });
    const { id, agent } = await planned();
    await using first = agent();
    await first.attest(token);
    // A lost reply strands nobody.
    await first.attest(token);
    expect(asked).toEqual([
      [id, token],
      [id, token],
    ]);
    expect(redeemed).toEqual([id, id]);
    const control = first.control();
    await control.next("welcome");
    await using second = agent();
    await expect(second.attest(token)).rejects.toMatchObject(refused);
    await expect(second.redeem()).rejects.toMatchObject(refused);
    expect(gateway.counts.get("refused_already_redeemed")).toBe(2);
    expect(JSON.stringify(gateway.lines)).not.toContain(token);
  });

  test("refuses with the same words, and audits it, when the provider says no", async () => {
    gateway = await startGateway({ auth: { attest: async () => false } });
    const { id, agent } = await planned();
    await using thief = agent();
    await expect(thief.attest(token)).rejects.toMatchObject(refused);
    const query = { correlationId: "", actor: id, target: "", pageSize: 9, pageToken: undefined };
    const { rows } = await gateway.store.listAudit(query);
    expect(rows.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
      "otp_refused not_attested",
    ]);
  });

  test("is refused where nobody attests", async () => {
    gateway = await startGateway();
    const { agent } = await planned();
    await using one = agent();
    await expect(one.attest(token)).rejects.toMatchObject(refused);
    // The one-time token goes on being one.
    await one.redeem();
  });

  test("asks nobody about what is no signed token", async () => {
    let asked = 0;
    gateway = await startGateway({ auth: { attest: async () => ++asked > 0 } });
    const { agent } = await planned();
    await using one = agent();
    for (const bad of ["x", "a.b", "a.b.c.d", "a.b c.d", `a.${"b".repeat(9_000)}.c`, ""]) {
      await expect(one.attest(bad)).rejects.toBeDefined();
    }
    expect(asked).toBe(0);
  });

  test("may be tried again when nobody can say now, and is asked for once at a time", async () => {
    const gate = Promise.withResolvers<boolean>();
    const answers = [Promise.reject(new HodeiError("unavailable", "not now")), gate.promise];
    for (const answer of answers) answer.catch(() => undefined);
    gateway = await startGateway({ auth: { attest: () => answers.shift() ?? gate.promise } });
    const { agent } = await planned();
    await using one = agent();
    const later = { code: status.UNAVAILABLE };
    await expect(one.attest(token)).rejects.toMatchObject(later);
    const waiting = one.attest(token);
    await using other = agent();
    await expect.poll(() => answers.length).toBe(0);
    await expect(other.attest(token)).rejects.toMatchObject(later);
    gate.resolve(true);
    await waiting;
  });
});
