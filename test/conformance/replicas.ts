import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Replica, ReplicaStore, Store, StoreChange } from "#store/store.ts";
import { changes, fillMore, look, type Change } from "./replicas/changes.ts";
import { submit } from "./store/job-facts.ts";
import { dawn, day, newJob, newWorker, readyWorker, workerId } from "./store/make.ts";

const aborted = { code: "aborted" };
const minute = 60_000;
/** Is over before anybody looks. */
const moment = 1;

function replica(number: number): Replica {
  return { id: `r${number}`, address: `10.0.0.${number}:7070`, startedAt: dawn + number };
}

function replicasOf(store: Store): ReplicaStore {
  if (store.replicas === undefined) throw new Error("the store is not shared");
  return store.replicas;
}

/** Every sentence of `ReplicaStore`: `open` gives another opening of the same store, an empty one after each `renew`. */
export function replicaConformance(
  name: string,
  { open, renew }: { readonly open: () => Promise<Store>; readonly renew: () => void },
): void {
  describe(`replicas on ${name}`, () => {
    let one: Store;
    let two: Store;
    let replicas: ReplicaStore;
    let others: ReplicaStore;
    const parts: AsyncDisposable[] = [];

    beforeEach(async () => {
      renew();
      [one, two] = [await open(), await open()];
      parts.push(one, two);
      [replicas, others] = [replicasOf(one), replicasOf(two)];
    });
    afterEach(async () => {
      for (const part of parts.splice(0).reverse()) await part[Symbol.asyncDispose]();
    });

    async function follow(store: Store): Promise<StoreChange[]> {
      const heard: StoreChange[] = [];
      const following = await store.follow?.((change) => heard.push(change));
      if (following === undefined) throw new Error("the store tells nothing");
      parts.push(following);
      return heard;
    }

    test("what is kept is what came first", async () => {
      expect(await replicas.findKept("name")).toBeUndefined();
      const [one, other] = await Promise.all([
        replicas.keep("name", Uint8Array.of(0, 1)),
        others.keep("name", Uint8Array.of(2)),
      ]);
      expect(one).toEqual(other);
      expect(await others.findKept("name")).toEqual(one);
      expect(await others.keep("other", Uint8Array.of(3))).toEqual(Uint8Array.of(3));
    });

    describe("the lead", () => {
      test("is taken by one of many candidates at once", async () => {
        const asked = Array.from({ length: 20 }, (_, number) =>
          (number % 2 === 0 ? replicas : others).lead(`r${number}`, minute),
        );
        const leads = await Promise.all(asked);
        const [first] = leads;
        expect(first).toMatchObject({ leader: expect.stringMatching(/^r\d+$/) as string });
        for (const lead of leads) expect(lead).toEqual(first);
      });

      test("is renewed in the same term, and another's term is higher", async () => {
        const first = await replicas.lead("r1", minute);
        expect(await replicas.lead("r1", minute)).toEqual(first);
        expect(await others.lead("r2", minute)).toEqual(first);
        await replicas.resign("r1");
        const second = await others.lead("r2", minute);
        expect(second.leader).toBe("r2");
        expect(second.term).toBeGreaterThan(first.term);
        await others.resign("r2");
        const third = await others.lead("r2", minute);
        expect(third.term).toBeGreaterThan(second.term);
      });

      test("goes to another when its time has run out", async () => {
        const first = await replicas.lead("r1", moment);
        const second = await vi.waitUntil(async () => {
          const lead = await others.lead("r2", minute);
          return lead.leader === "r2" && lead;
        });
        expect(second.term).toBeGreaterThan(first.term);
        expect(await replicas.lead("r1", minute)).toEqual(second);
      });

      test("goes on in its term when its time has run out and nobody followed", async () => {
        const first = await replicas.lead("r1", moment);
        const heard = await follow(two);
        await submit(replicas.ledBy(first.term));
        expect(await replicas.lead("r1", minute)).toEqual(first);
        expect(await others.lead("r2", minute)).toEqual(first);
        await replicas.resign("r1");
        await vi.waitUntil(() => heard.some(({ kind }) => kind === "lead"));
        // Nothing was told before: the same replica led all the time.
        expect(heard.filter(({ kind }) => kind === "lead")).toEqual([{ kind: "lead", id: "" }]);
      });

      test("is told of when it is taken and when it is given up, which hands over at once", async () => {
        const heard = await follow(two);
        await replicas.lead("r1", minute);
        await replicas.lead("r1", minute);
        await replicas.resign("r1");
        expect(await others.lead("r2", minute)).toMatchObject({ leader: "r2" });
        const leads = () => heard.filter(({ kind }) => kind === "lead").map(({ id }) => id);
        await vi.waitUntil(() => leads().length >= 3);
        expect(leads()).toEqual(["r1", "", "r2"]);
      });

      test("is not given up by one that has not got it", async () => {
        const lead = await replicas.lead("r1", minute);
        await others.resign("r2");
        await others.leave("r2");
        expect(await others.lead("r2", minute)).toEqual(lead);
      });

      test("is given up by one that leaves", async () => {
        await replicas.lead("r1", minute);
        await replicas.leave("r1");
        expect(await others.lead("r2", minute)).toMatchObject({ leader: "r2" });
      });
    });

    describe("a leader's store", () => {
      const names = Object.keys(changes) as Change[];

      test.for(names)("%s changes nothing once another leads", async (name) => {
        const filled = await fillMore(one);
        const first = await replicas.lead("r1", minute);
        await replicas.resign("r1");
        const second = await others.lead("r2", minute);
        const before = await look(one);
        const change = changes[name];
        await expect(change(replicas.ledBy(first.term), filled)).rejects.toMatchObject(aborted);
        expect(await look(one)).toEqual(before);
        await change(others.ledBy(second.term), filled);
        expect(await look(one)).not.toEqual(before);
      });

      test("changes nothing after the lead was given up, before anybody took it, or in a term that never was", async () => {
        const { term } = await replicas.lead("r1", minute);
        const led = replicas.ledBy(term);
        const later = replicas.ledBy(term + 1);
        await submit(led);
        await expect(later.submitJobs([newJob()], dawn)).rejects.toMatchObject(aborted);
        await replicas.resign("r1");
        await expect(led.submitJobs([newJob()], dawn)).rejects.toMatchObject(aborted);
        expect(await one.readDemand(dawn)).toMatchObject([{ queued: 1 }]);
      });

      test("goes on to read, to follow and to know its replicas", async () => {
        const { term } = await replicas.lead("r1", minute);
        const led = replicas.ledBy(term);
        await replicas.resign("r1");
        const id = await submit(one);
        expect(await led.findJob(id)).toMatchObject({ state: "queued" });
        expect(await led.readDemand(dawn)).toMatchObject([{ queued: 1 }]);
        expect(await replicasOf(led).lead("r1", minute)).toMatchObject({ leader: "r1" });
      });

      test("is not closed with the term, nor the store with it", async () => {
        const { term } = await replicas.lead("r1", minute);
        const led = replicas.ledBy(term);
        await led[Symbol.asyncDispose]();
        const id = await submit(led);
        expect(await one.findJob(id)).toBeDefined();
      });

      test("judges each step of one turn for itself, in the order given", async () => {
        const { term } = await replicas.lead("r1", minute);
        const led = replicas.ledBy(term);
        const said = await Promise.allSettled([
          led.submitJobs([newJob()], dawn),
          one.submitJobs([newJob()], dawn),
          replicas.resign("r1"),
          led.submitJobs([newJob()], dawn),
          one.submitJobs([newJob()], dawn),
        ]);
        const kinds = said.map(({ status }) => status);
        const done = "fulfilled";
        expect(kinds).toEqual([done, done, done, "rejected", done]);
        expect(await one.readDemand(dawn)).toMatchObject([{ queued: 3 }]);
      });
    });

    describe("those that live", () => {
      test("are listed oldest first, by whichever of them", async () => {
        await replicas.beat(replica(2), minute);
        await others.beat(replica(1), minute);
        const all = [replica(1), replica(2), replica(3)];
        expect(await replicas.beat(replica(3), minute)).toEqual(all);
        const moved = { ...replica(2), address: "[::1]:1" };
        expect(await others.beat(moved, minute)).toEqual([replica(1), moved, replica(3)]);
      });

      test("are forgotten when they leave, or are not heard of", async () => {
        await replicas.beat(replica(1), minute);
        await replicas.beat(replica(2), moment);
        await vi.waitUntil(async () => (await others.beat(replica(3), minute)).length === 2);
        expect(await others.beat(replica(3), minute)).toEqual([replica(1), replica(3)]);
        await replicas.leave("r1");
        await replicas.leave("r1");
        expect(await others.beat(replica(3), minute)).toEqual([replica(3)]);
      });
    });

    describe("workers that were heard", () => {
      const ids = [1, 2, 3].map(workerId);

      beforeEach(async () => {
        for (const number of [1, 2, 3]) await readyWorker(one, number);
      });

      test("are told to all in the order in which they were heard last", async () => {
        await replicas.hear(ids);
        const all = await others.listHeard(0, 100);
        expect(all.ids).toEqual(ids);
        expect(await others.listHeard(all.last, 100)).toEqual({ ids: [], last: all.last });
        await others.hear([workerId(2)]);
        await replicas.hear([workerId(1)]);
        const next = await others.listHeard(all.last, 100);
        expect(next.ids).toEqual([workerId(2), workerId(1)]);
        expect(next.last).toBeGreaterThan(all.last);
        const again = await others.listHeard(0, 100);
        expect(again).toEqual({ ids: [3, 2, 1].map(workerId), last: next.last });
      });

      test("are told a few at a time", async () => {
        await replicas.hear(ids);
        const first = await others.listHeard(0, 2);
        expect(first.ids).toEqual(ids.slice(0, 2));
        expect((await others.listHeard(first.last, 2)).ids).toEqual(ids.slice(2));
      });

      test("are none that are over or unknown", async () => {
        await replicas.hear(ids);
        await one.endWorker(workerId(2), { failure: undefined, expiresAt: dawn + day }, dawn);
        await replicas.hear([workerId(2), workerId(9)]);
        await replicas.hear([]);
        expect((await others.listHeard(0, 100)).ids).toEqual([workerId(1), workerId(3)]);
      });

      test("may be many", async () => {
        const many = Array.from({ length: 2_500 }, (_, at) => newWorker(at + 10, { isWarm: true }));
        await one.planWorkers(many, dawn);
        await replicas.hear(many.map(({ id }) => id));
        const found = await others.listHeard(0, 10_000);
        expect(found.ids).toHaveLength(2_500);
      });
    });

    test("a provider that is added, changed or removed is told of", async () => {
      const heard = await follow(two);
      const filled = await fillMore(one);
      await changes.addProvider(one, filled);
      const told = () => heard.filter(({ kind }) => kind === "provider").map(({ id }) => id);
      await vi.waitUntil(() => told().length >= 2);
      await changes.changeProvider(one, filled);
      await changes.removeProvider(one, filled);
      await vi.waitUntil(() => told().length >= 4);
      expect(told()).toEqual(["here", "there", "here", "here"]);
    });
  });
}
