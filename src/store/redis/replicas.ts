import type { WorkerId } from "#job/id.ts";
import type { Replica, ReplicaStore } from "#store/store.ts";
import type { Link } from "./link.ts";
import type { Unpacked } from "./pack.ts";
import { maybeBytes, toBytes, toList, toNumber, toText } from "./values.ts";

/** Workers of one step, so that none takes long. */
const heardChunk = 500;

export function replicaSteps(link: Link): Omit<ReplicaStore, "ledBy"> {
  return {
    beat: async ({ id, address, startedAt }, ttlMs) => {
      const live = toList(await link.step("beat", id, address, startedAt, ttlMs)).map(replicaOf);
      return live.sort(byAge);
    },
    leave: async (id) => {
      await link.step("leave", id);
    },
    lead: async (id, ttlMs) => {
      const [term, leader] = toList(await link.step("lead", id, ttlMs));
      return { term: toNumber(term), leader: toText(leader) };
    },
    resign: async (id) => {
      await link.step("resign", id);
    },
    keep: async (name, value) => toBytes(await link.step("keep", name, value)),
    findKept: async (name) => maybeBytes(await link.step("findKept", name)),
    hear: async (ids) => {
      const chunks = Array.from({ length: Math.ceil(ids.length / heardChunk) }, (_, at) =>
        link.step("hear", ids.slice(at * heardChunk, (at + 1) * heardChunk)),
      );
      await Promise.all(chunks);
    },
    listHeard: async (after, limit) => {
      const [ids, last] = toList(await link.step("listHeard", after, limit));
      return { ids: toList(ids).map((id) => toText(id) as WorkerId), last: toNumber(last) };
    },
  };
}

function replicaOf(answer: Unpacked): Replica {
  const [id, address, startedAt] = toList(answer);
  return { id: toText(id), address: toText(address), startedAt: toNumber(startedAt) };
}

function byAge(one: Replica, other: Replica): number {
  return one.startedAt - other.startedAt || (one.id < other.id ? -1 : 1);
}
