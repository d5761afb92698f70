import { expect, onTestFinished, test, vi } from "vitest";
import { HodeiError } from "#error.ts";
import { type Lead, startLead } from "#scheduler/lead.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import type { ReplicaStore, Store } from "#store/store.ts";
import { createLogger } from "#telemetry.ts";

const leaseMs = 3_600_000;
const self = "one";

/** Who leads is what the test says. Rounds come only when the lead is woken, since its lease is so long. */
class ScriptedReplicas {
  leader = self;
  term = 1;
  isBroken = false;
  rounds = 0;
  left: string[] = [];

  get store(): ReplicaStore {
    const unused = (): never => {
      throw new Error("not part of this test");
    };
    return {
      beat: async (replica) => [replica],
      lead: async () => {
        this.rounds++;
        if (this.isBroken) throw new HodeiError("unavailable", "the store is away");
        return { leader: this.leader, term: this.term };
      },
      leave: async (id) => void this.left.push(id),
      ledBy: (term) => Object.assign(openMemoryStore(), { term }),
      resign: unused,
      hear: unused,
      listHeard: unused,
      keep: unused,
      findKept: unused,
    };
  }
}

interface World {
  readonly replicas: ScriptedReplicas;
  readonly lead: Lead;
  readonly events: string[];
  /** On the monotonic clock. */
  at: number;
  /** Resolves once another round is over. */
  round(): Promise<void>;
}

interface WorldOptions {
  readonly replicas?: ScriptedReplicas;
  /** What the beginning and the end of duties wait for, by term. */
  readonly begins?: ReadonlyMap<number, Promise<unknown>>;
  readonly ends?: ReadonlyMap<number, Promise<unknown>>;
  /** So many beginnings fail. */
  readonly failures?: number;
}

async function createWorld(options: WorldOptions = {}): Promise<World> {
  const { replicas = new ScriptedReplicas(), begins, ends } = options;
  let failures = options.failures ?? 0;
  const events: string[] = [];
  const world = { replicas, events, at: 0 };
  const lead = await startLead({
    replicas: replicas.store,
    self: { id: self, address: () => "here", startedAt: 0, leaseMs },
    log: createLogger("silent"),
    monotonic: () => world.at,
    onChange: (isLeading) => void events.push(isLeading ? "leads" : "follows"),
    async begin(store) {
      const { term } = store as Store & { readonly term: number };
      events.push(`begins ${term}`);
      await begins?.get(term);
      if (failures-- > 0) throw new Error("it cannot begin");
      events.push(`begun ${term}`);
      return {
        async [Symbol.asyncDispose]() {
          events.push(`ends ${term}`);
          await ends?.get(term);
          events.push(`ended ${term}`);
        },
      };
    },
  });
  onTestFinished(() => lead[Symbol.asyncDispose]());
  const round = async (): Promise<void> => {
    const before = replicas.rounds;
    await vi.waitFor(
      () => {
        lead.wake();
        // The one before it is over when another one begins.
        expect(replicas.rounds).toBeGreaterThan(before + 1);
      },
      { interval: 2 },
    );
  };
  return Object.assign(world, { lead, round });
}

const soon = { timeout: 5_000, interval: 5 };

test("the only replica leads from the start", async () => {
  const { lead, events } = await createWorld();
  expect(lead.isLeading).toBe(true);
  expect(lead.replicas.map(({ id }) => id)).toEqual([self]);
  await vi.waitFor(() => expect(events).toEqual(["leads", "begins 1", "begun 1"]));
});

test("one that does not lead begins nothing until it does", async () => {
  const replicas = new ScriptedReplicas();
  replicas.leader = "two";
  const world = await createWorld({ replicas });
  const { lead, events } = world;
  await world.round();
  expect([lead.isLeading, events]).toEqual([false, []]);
  Object.assign(replicas, { leader: self, term: 2 });
  await world.round();
  expect(lead.isLeading).toBe(true);
  await vi.waitFor(() => expect(events).toEqual(["leads", "begins 2", "begun 2"]));
});

test("duties that begin while the lead is lost end as soon as they have begun", async () => {
  const gate = Promise.withResolvers<void>();
  const world = await createWorld({ begins: new Map([[1, gate.promise]]) });
  await vi.waitFor(() => expect(world.events).toContain("begins 1"));
  world.replicas.leader = "two";
  await world.round();
  expect(world.lead.isLeading).toBe(false);
  expect(world.events).toEqual(["leads", "begins 1", "follows"]);
  gate.resolve();
  await vi.waitFor(() => expect(world.events.slice(3)).toEqual(["begun 1", "ends 1", "ended 1"]));
});

test("duties of a new term begin when those of the old one have ended, and rounds go on meanwhile", async () => {
  const gate = Promise.withResolvers<void>();
  const world = await createWorld({ ends: new Map([[1, gate.promise]]) });
  await vi.waitFor(() => expect(world.events).toContain("begun 1"));
  world.replicas.term = 2;
  await world.round();
  await world.round();
  expect(world.lead.isLeading).toBe(true);
  expect(world.events.slice(3)).toEqual(["follows", "leads", "ends 1"]);
  gate.resolve();
  await vi.waitFor(() => expect(world.events.slice(6)).toEqual(["ended 1", "begins 2", "begun 2"]));
});

test("one that cannot renew leads until its lease has run out on its own clock, and no longer", async () => {
  const world = await createWorld();
  world.replicas.isBroken = true;
  world.at = leaseMs - 1;
  await world.round();
  expect(world.lead.isLeading).toBe(true);
  world.at = leaseMs;
  await world.round();
  expect(world.lead.isLeading).toBe(false);
  await vi.waitFor(() => expect(world.events).toContain("ended 1"));
  // Nobody followed it, so it goes on with its own term.
  world.replicas.isBroken = false;
  await world.round();
  expect(world.lead.isLeading).toBe(true);
  await vi.waitFor(() => expect(world.events.at(-1)).toBe("begun 1"));
});

test("a lease counts from when it was asked for, and each renewal puts its end off", async () => {
  const world = await createWorld();
  world.at = leaseMs / 2;
  await world.round();
  world.replicas.isBroken = true;
  world.at = leaseMs;
  await world.round();
  expect(world.lead.isLeading).toBe(true);
  world.at = leaseMs * 1.5;
  await world.round();
  expect(world.lead.isLeading).toBe(false);
});

test("duties that do not begin are tried again", async () => {
  const { events, lead } = await createWorld({ failures: 1 });
  await vi.waitFor(
    () => expect(events).toEqual(["leads", "begins 1", "begins 1", "begun 1"]),
    soon,
  );
  expect(lead.isLeading).toBe(true);
});

test("duties that did not begin are given up with the lead", async () => {
  const world = await createWorld({ failures: 1_000 });
  await vi.waitFor(() => expect(world.events).toContain("begins 1"));
  await world.lead[Symbol.asyncDispose]();
  expect(world.events).toEqual(["leads", "begins 1", "follows"]);
  expect(world.replicas.left).toEqual([self]);
});

test("one that stops ends its duties, and gives the lead up even if they take too long", async () => {
  const gate = Promise.withResolvers<void>();
  const { lead, events, replicas } = await createWorld({ ends: new Map([[1, gate.promise]]) });
  await vi.waitFor(() => expect(events).toContain("begun 1"));
  const stopped = lead[Symbol.asyncDispose]();
  await vi.waitFor(() => expect(replicas.left).toEqual([self]), soon);
  expect(events.slice(3)).toEqual(["follows", "ends 1"]);
  gate.resolve();
  await stopped;
  expect(events.at(-1)).toBe("ended 1");
});
