import { describe, expect, test } from "vitest";
import type { RedeemClaim, Store } from "#store/store.ts";
import { submit } from "./job-facts.ts";
import { finishOf } from "./dispatch-facts.ts";
import {
  anyWorker,
  claimOf,
  dawn,
  day,
  failure,
  newWorker,
  otpOf,
  readyWorker,
  workerId,
} from "./make.ts";

export function workerFacts(current: () => Store): void {
  describe("workers", () => {
    test("each is planned for the first job that has none", async () => {
      const first = await submit(current());
      const second = await submit(current());
      await submit(current(), { classKey: "large" });
      const warm = newWorker(1, { isWarm: true });
      const plans = [warm, newWorker(2), newWorker(3), newWorker(4)];
      const workers = await current().planWorkers(plans, dawn);
      const jobs = workers.map((worker) => worker.forJob);
      expect(jobs).toEqual([undefined, first, second, undefined]);
      expect(workers[0]).toMatchObject({ state: "planned", attempts: 0, jobs: [] });
    });

    test("one that is planned for a job that has a worker already is that job's too", async () => {
      const store = current();
      const first = await submit(store);
      const second = await submit(store);
      await store.planWorkers([newWorker(1)], dawn);
      const plans = [newWorker(2, { forJob: first }), newWorker(3)];
      const workers = await store.planWorkers(plans, dawn);
      expect(workers.map((worker) => worker.forJob)).toEqual([first, second]);
    });

    test("the price of a worker is the price of its attempts, once they are over", async () => {
      const store = current();
      for (const price of [undefined, 2.5]) {
        const job = await submit(store);
        const number = price === undefined ? 1 : 2;
        const given = price === undefined ? {} : { pricePerHour: price };
        const worker = await readyWorker(store, number, given);
        expect((await store.findWorker(worker))?.pricePerHour).toBe(price ?? 0);
        const [assignment] = await store.claimNext(worker, claimOf(1), dawn);
        if (assignment === undefined) throw new Error("nothing to do");
        expect((await store.findJob(job))?.attempts[0]?.pricePerHour).toBeUndefined();
        await store.finishAttempts([finishOf(assignment)], dawn);
        expect((await store.findJob(job))?.attempts[0]?.pricePerHour).toBe(price ?? 0);
      }
    });

    test("of 50 claimants at once, one redeems the token", async () => {
      await current().planWorkers([newWorker(1)], dawn);
      const claims = Array.from({ length: 50 }, (_, number) =>
        current().redeem(workerId(1), otpOf(1, `claimant ${number}`), dawn + 1),
      );
      const kinds = (await Promise.all(claims)).map((outcome) => outcome.kind);
      expect(kinds.filter((kind) => kind === "ok").length).toBe(1);
    });

    test("a redeem is refused with its reason, and repeated by its claimant", async () => {
      const store = current();
      const soon = { otpExpiresAt: dawn + 10 };
      await store.planWorkers([newWorker(1, soon), newWorker(2, soon), newWorker(3)], dawn);
      const redeem = (number: number, claim: ReturnType<typeof otpOf>, now: number) =>
        store.redeem(workerId(number), claim, now);
      expect(await redeem(9, otpOf(9), dawn)).toMatchObject({ reason: "unknown_worker" });
      expect(await redeem(1, otpOf(2), dawn)).toMatchObject({ reason: "wrong_token" });
      expect(await redeem(1, otpOf(1), dawn + 10)).toEqual({ kind: "ok", isRepeat: false });
      expect(await redeem(1, otpOf(1), dawn + 99)).toEqual({ kind: "ok", isRepeat: true });
      expect(await redeem(1, otpOf(1, "x"), dawn)).toMatchObject({ reason: "already_redeemed" });
      expect(await redeem(2, otpOf(2), dawn + 11)).toMatchObject({ reason: "expired" });
      await store.stopWorker(workerId(3), { reason: "" }, dawn);
      expect(await redeem(3, otpOf(3), dawn)).toMatchObject({ reason: "over" });
    });

    test("an attested claim needs no token, and is the first or refused like any other", async () => {
      const store = current();
      const soon = { otpExpiresAt: dawn + 10 };
      await store.planWorkers([newWorker(1, soon), newWorker(2, soon), newWorker(3)], dawn);
      const attested = (number: number, session?: string): RedeemClaim => ({
        ...otpOf(number, session),
        otpHash: "attested",
      });
      const redeem = (number: number, claim: RedeemClaim, now = dawn) =>
        store.redeem(workerId(number), claim, now);
      expect(await redeem(9, attested(9))).toMatchObject({ reason: "unknown_worker" });
      expect(await redeem(1, attested(1))).toEqual({ kind: "ok", isRepeat: false });
      expect(await redeem(1, attested(1), dawn + 99)).toEqual({ kind: "ok", isRepeat: true });
      expect(await redeem(1, attested(1, "x"))).toMatchObject({ reason: "already_redeemed" });
      expect(await redeem(1, otpOf(1, "x"))).toMatchObject({ reason: "already_redeemed" });
      expect(await store.findWorker(workerId(1))).toMatchObject({ state: "ready" });
      expect(await redeem(2, attested(2), dawn + 11)).toMatchObject({ reason: "expired" });
      await store.stopWorker(workerId(3), { reason: "" }, dawn);
      expect(await redeem(3, attested(3))).toMatchObject({ reason: "over" });
    });

    test("a session lasts until its worker's end", async () => {
      const id = await readyWorker(current(), 1);
      expect(await current().findSession(id)).toEqual(otpOf(1).sessionHash);
      await current().stopWorker(id, { reason: "" }, dawn);
      expect(await current().findSession(id)).toBeDefined();
      await current().endWorker(id, { failure: undefined, expiresAt: dawn + day }, dawn);
      expect(await current().findSession(id)).toBeUndefined();
      expect(await current().redeem(id, otpOf(1), dawn)).toMatchObject({ reason: "over" });
    });

    test("its life goes forward only", async () => {
      const id = await readyWorker(current(), 1);
      await current().recordCreated(id, "uid-1", dawn);
      await current().recordHello(id, { slots: 7, hostname: "node-a" });
      const ready = { state: "ready", readyAt: dawn, resourceUid: "uid-1", slots: 7 };
      expect(await current().findWorker(id)).toMatchObject({ ...ready, startDeadline: undefined });
      expect(await current().drainWorker(id, "enough", dawn)).toMatchObject({ state: "draining" });
      await current().stopWorker(id, { reason: "stop" }, dawn);
      expect(await current().drainWorker(id, "late", dawn)).toMatchObject({
        state: "stopping",
        reason: "stop",
      });
      const end = { failure: undefined, expiresAt: dawn + day };
      expect(await current().endWorker(id, end, dawn + 1)).toMatchObject({ state: "ended" });
      expect(await current().stopWorker(id, { reason: "" }, dawn)).toMatchObject({
        state: "ended",
      });
      expect(await current().endWorker(workerId(9), end, dawn)).toBeUndefined();
    });

    test("each connection of one has a higher number, and only the newest is given jobs", async () => {
      const store = current();
      const hello = { slots: 1, hostname: "node-a" };
      await store.planWorkers([newWorker(1)], dawn);
      expect(await store.findWorker(workerId(1))).toMatchObject({ connection: 0 });
      const id = await readyWorker(store, 2);
      const numbers = [await store.recordHello(id, hello), await store.recordHello(id, hello)];
      expect(numbers).toEqual([1, 2]);
      expect(await store.findWorker(id)).toMatchObject({ connection: 2 });
      const job = await submit(store);
      const old = await store.claimNext(id, claimOf(1, { connection: 1 }), dawn);
      expect(old).toEqual([]);
      const given = await store.claimNext(id, claimOf(1, { connection: 2 }), dawn);
      expect(given).toMatchObject([{ jobId: job }]);
      expect(await store.recordHello(workerId(9), hello)).toBe(0);
      await store.endWorker(id, { failure: undefined, expiresAt: dawn + day }, dawn);
      expect(await store.recordHello(id, hello)).toBe(0);
      expect(await store.findWorker(id)).toMatchObject({ connection: 2 });
    });

    test("one that never came up tells its job", async () => {
      const id = await submit(current());
      await current().planWorkers([newWorker(1)], dawn);
      await current().endWorker(workerId(1), { failure, expiresAt: dawn + day }, dawn + 1);
      expect(await current().findJob(id)).toMatchObject({ infraRetries: 1, version: 1 });
      const events = await current().listEvents(id, 1, 10);
      expect(events).toMatchObject([{ failure, workerId: workerId(1), message: failure.message }]);
    });

    test("an unknown one is not found", async () => {
      const step = current().drainWorker(workerId(9), "", dawn);
      await expect(step).rejects.toMatchObject({ code: "not_found" });
      const stop = current().stopWorker(workerId(9), { reason: "" }, dawn);
      await expect(stop).rejects.toMatchObject({ code: "not_found" });
      expect(await current().findWorker(workerId(9))).toBeUndefined();
    });

    test("they are listed newest first, page by page", async () => {
      await current().planWorkers(
        [1, 2, 3, 4].map((number) => newWorker(number)),
        dawn,
      );
      await current().endWorker(workerId(4), { failure: undefined, expiresAt: dawn }, dawn);
      const first = await current().listWorkers({ ...anyWorker, pageSize: 2 });
      expect(first.rows.map((worker) => worker.id)).toEqual([workerId(3), workerId(2)]);
      const query = { ...anyWorker, pageSize: 2, pageToken: first.nextPageToken };
      const second = await current().listWorkers(query);
      expect(second.rows.map((worker) => worker.id)).toEqual([workerId(1)]);
      expect(second.nextPageToken).toBeUndefined();
      const over = await current().listWorkers({ ...anyWorker, states: ["ended"] });
      expect(over.rows.map((worker) => worker.id)).toEqual([workerId(4)]);
      const live = await current().listLiveWorkers();
      expect(live.map((worker) => worker.id)).toEqual([1, 2, 3].map(workerId));
    });
  });
}
