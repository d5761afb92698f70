import { describe, expect, test } from "vitest";
import type { NewAuditEntry, Store } from "#store/store.ts";
import type { Token } from "#tenant/identity.ts";
import { jobIn, submit } from "./job-facts.ts";
import { dawn, day, hash, newJob, readyWorker, workerId } from "./make.ts";

function token(id: string, change: Partial<Token> = {}): Token {
  const who = { id, subject: "ada", tenant: "acme", role: "admin" } as const;
  return { ...who, createdAt: dawn, expiresAt: undefined, revokedAt: undefined, ...change };
}

function audit(change: Partial<NewAuditEntry> = {}): NewAuditEntry {
  const who = { at: dawn, actor: "ada", tenant: "acme", action: "SubmitJob", target: "j1" };
  const how = { outcome: "ok", peer: "127.0.0.1", correlationId: "c1", expiresAt: dawn + day };
  return { ...who, ...how, ...change };
}

export function accessFacts(current: () => Store): void {
  describe("tokens and the audit", () => {
    test("a token is kept with its hash, and revoked once", async () => {
      await current().putToken(token("one"), hash("secret"));
      const found = await current().findToken("one");
      expect(found?.token).toEqual(token("one"));
      expect([...(found?.secretHash ?? [])]).toEqual([...hash("secret")]);
      expect(await current().findToken("two")).toBeUndefined();
      expect(await current().revokeToken("one", dawn + 1)).toMatchObject({ revokedAt: dawn + 1 });
      expect(await current().revokeToken("one", dawn + 2)).toMatchObject({ revokedAt: dawn + 1 });
      const step = current().revokeToken("two", dawn);
      await expect(step).rejects.toMatchObject({ code: "not_found" });
    });

    test("tokens are listed by id, page by page", async () => {
      for (const id of ["c", "a", "b"]) await current().putToken(token(id), hash(id));
      const first = await current().listTokens({ pageSize: 2, pageToken: undefined });
      expect(first.rows.map((row) => row.id)).toEqual(["a", "b"]);
      const next = await current().listTokens({ pageSize: 2, pageToken: first.nextPageToken });
      expect(next).toEqual({ rows: [token("c")], nextPageToken: undefined });
    });

    test("the audit is listed newest first, by filter", async () => {
      await current().appendAudit([audit(), audit({ actor: "bob" }), audit({ target: "j2" })]);
      const all = { pageSize: 2, pageToken: undefined, correlationId: "", actor: "", target: "" };
      const first = await current().listAudit(all);
      expect(first.rows.map((row) => row.sequence)).toEqual([3, 2]);
      const next = await current().listAudit({ ...all, pageToken: first.nextPageToken });
      expect(next.rows).toMatchObject([{ sequence: 1, actor: "ada", action: "SubmitJob" }]);
      const bob = await current().listAudit({ ...all, actor: "bob" });
      expect(bob.rows.map((row) => row.sequence)).toEqual([2]);
    });

    test("a submit brings its audit row along in the same step", async () => {
      const { target: _target, outcome: _outcome, ...entry } = audit();
      const few = newJob({ maxQueued: 2 });
      const results = await current().submitJobs([few, few, few], dawn, entry);
      const [first] = results.flatMap((result) => (result.kind === "accepted" ? [result.id] : []));
      await current().submitJobs([few], dawn, entry);
      const all = { pageSize: 9, pageToken: undefined, correlationId: "", actor: "", target: "" };
      const page = await current().listAudit(all);
      expect(page.rows).toMatchObject([
        { target: "", outcome: "RESOURCE_EXHAUSTED" },
        { target: `${first} and 1 more`, outcome: "OK" },
      ]);
    });

    test("everything ends, a bounded number at a time, never early", async () => {
      const over = await jobIn(current(), "failed");
      const open = await submit(current());
      await readyWorker(current(), 7);
      await current().endWorker(workerId(7), { failure: undefined, expiresAt: dawn + day }, dawn);
      await current().appendAudit([audit(), audit()]);
      for (const id of ["one", "two"]) {
        await current().putToken(token(id, { expiresAt: dawn + day }), hash("x"));
      }
      expect(await current().expire(dawn + day - 1, 100)).toBe(0);
      expect(await current().expire(dawn + day, 2)).toBe(2);
      expect(await current().expire(dawn + day, 100)).toBe(3);
      expect(await current().findJob(over)).toBeUndefined();
      expect(await current().findJob(open)).toBeDefined();
      expect(await current().findWorker(workerId(7))).toBeUndefined();
      expect(await current().findToken("one")).toBeUndefined();
      // A store that once had a token always has one, so that its server never lets everybody in again.
      expect(await current().findToken("two")).toBeDefined();
    });
  });
}
