import { status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { HodeiClient } from "#client/client.ts";
import { JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import { adminToken, collect, type Harness, startHarness } from "./harness.ts";

let harness: Harness;
let admin: HodeiClient;
beforeEach(async () => {
  harness = await startHarness();
  admin = clientOf(adminToken);
});
afterEach(async () => {
  admin.close();
  await harness[Symbol.asyncDispose]();
});

function clientOf(token: string): HodeiClient {
  return new HodeiClient({ address: harness.address, token, retry: { maxRetries: 0 } });
}

describe("a token's open streams", () => {
  async function watchedBy(secret: string) {
    const client = clientOf(secret);
    const { id } = await admin.submit({ command: ["true"] });
    const events = client.watch(id);
    await events.next();
    const rest = (async () => {
      for await (const event of events) void event;
    })();
    rest.catch(() => undefined);
    return { rest, client };
  }

  test("end when it is revoked, those of another one go on", async () => {
    const spec = { subject: "ci", tenant: "default", role: "viewer" } as const;
    const { token, secret } = await admin.tokens.create(spec);
    const other = await admin.tokens.create(spec);
    const { rest, client } = await watchedBy(secret);
    const kept = await watchedBy(other.secret);
    let hasKeptEnded = false;
    kept.rest.catch(() => (hasKeptEnded = true));
    await admin.tokens.revoke(token.id);
    await expect(rest).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    await vi.waitFor(() =>
      expect(harness.ended).toContain(`${JobServiceService.watchJob.path} UNAUTHENTICATED`),
    );
    expect(hasKeptEnded).toBe(false);
    client.close();
    kept.client.close();
  });

  test("end when it expires", async () => {
    const spec = { subject: "ci", tenant: "default", role: "viewer", ttlMs: 1_000 } as const;
    const { secret } = await admin.tokens.create(spec);
    const { rest, client } = await watchedBy(secret);
    await expect(rest).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    client.close();
  });
});

describe("a change that its caller has no right to", () => {
  test("is on record, a flood of them within bounds", async () => {
    const spec = { subject: "curious", tenant: "default", role: "viewer" } as const;
    const { secret } = await admin.tokens.create(spec);
    const client = clientOf(secret);
    const tries = Array.from({ length: 50 }, async () => client.submit({ command: ["true"] }));
    for (const one of await Promise.allSettled(tries)) {
      expect(one).toMatchObject({ reason: { code: "PERMISSION_DENIED" } });
    }
    const revoke = client.tokens.revoke("0123456789abcdef");
    await expect(revoke).rejects.toMatchObject({ code: status[status.PERMISSION_DENIED] });
    client.close();
    const rows = await vi.waitFor(async () => {
      const found = await collect(admin.audit.list({ actor: "curious" }));
      expect(found.map(({ action }) => action)).toContain("RevokeToken");
      return found;
    });
    expect(rows[0]).toMatchObject({ outcome: "PERMISSION_DENIED", tenant: "default" });
    expect(rows.length).toBeLessThanOrEqual(20);
  });
});
