import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createRefusals } from "#api/refusals.ts";
import { HodeiClient } from "#client/client.ts";
import { JobServiceService } from "#rpc/gen/hodei/v1/job_service.ts";
import { createLogger } from "#telemetry.ts";
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

  test("is on record when nobody knows who asked, and when what was asked for is no message", async () => {
    await Promise.allSettled(
      Array.from({ length: 50 }, async () => {
        await using stranger = clientOf("x".repeat(40));
        await stranger.tokens.revoke("0123456789abcdef");
      }),
    );
    await using stranger = clientOf("x".repeat(40));
    await expect(collect(stranger.list())).rejects.toMatchObject({ code: "UNAUTHENTICATED" });
    const garbled = callWith(JobServiceService.cancelJob.path, Buffer.from([0x0a, 0xff]));
    await expect(garbled).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
    await vi.waitFor(async () => {
      const rows = await collect(admin.audit.list());
      const found = rows.map(({ action, actor, outcome }) => [action, actor, outcome].join(" "));
      expect(found).toContain("CancelJob admin INVALID_ARGUMENT");
      const strangers = found.filter((row) => row === "RevokeToken  UNAUTHENTICATED");
      // A flood of them is cut, and reading is no change.
      expect(strangers.length).toBeGreaterThan(0);
      expect(strangers.length).toBeLessThanOrEqual(20);
      expect(found.join()).not.toContain("ListJobs");
    });
  });
});

describe("the record of refusals", () => {
  const incoming = {
    method: JobServiceService.cancelJob.path,
    metadata: new Metadata(),
    peer: "127.0.0.1:1",
    correlationId: "c",
  } as never;

  test("has bounds for one caller, for all of them, and for a day", () => {
    const rows: string[] = [];
    let at = 0;
    const append = async ({ actor }: { readonly actor: string }) => void rows.push(actor);
    const log = createLogger("silent");
    const note = createRefusals({ audit: { append }, log, now: () => at });
    const flood = (subjects: readonly string[]): void => {
      for (const subject of subjects) {
        const caller = { subject, tenant: "t", role: "viewer" } as const;
        for (let count = 0; count < 100; count++) {
          note({ caller, incoming, outcome: "PERMISSION_DENIED" });
        }
      }
    };
    flood(["a", "b"]);
    expect(rows).toHaveLength(40);
    flood(Array.from({ length: 1_000 }, (_, number) => `c${number}`));
    expect(rows).toHaveLength(2_000);
    for (; at < 24 * 3_600_000 - 10_000; at += 10_000) flood(["a"]);
    expect(rows.filter((actor) => actor === "a")).toHaveLength(1_000);
    at = 24 * 3_600_000;
    flood(["a"]);
    expect(rows.filter((actor) => actor === "a")).toHaveLength(1_020);
  });
});

/** Sends bytes in the place of a message, as the first admin. */
function callWith(path: string, bytes: Buffer): Promise<Buffer> {
  const client = new Client(harness.address, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${adminToken}`);
  const pass = (value: Buffer): Buffer => value;
  return new Promise<Buffer>((resolve, reject) => {
    client.makeUnaryRequest(path, pass, pass, bytes, metadata, (error, answer) => {
      client.close();
      if (error === null && answer !== undefined) resolve(answer);
      else reject(error ?? new Error("no answer"));
    });
  });
}
