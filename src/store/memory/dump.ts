import { HodeiError } from "#error.ts";
import {
  DumpReader,
  wholeDump,
  type DumpCounts,
  type DumpedRow,
  type DumpRecord,
  type StoreDump,
} from "#store/dump.ts";
import { keyOf, tenantAndKeyOf } from "./jobs.ts";
import { listProviderStates } from "./providers.ts";
import { refreshShares } from "./shares.ts";
import type { State } from "./state.ts";

/** The model of what a dump is. */
export function dumpMethods(state: State): Pick<StoreDump, "dump" | "load"> {
  return {
    dump: () => wholeDump(rowsOf(state)),
    load: (records) => load(state, records),
  };
}

function* rowsOf(state: State): Generator<DumpedRow> {
  for (const { worker, ...secrets } of state.workers.values()) {
    yield { kind: "worker", worker: { ...worker, ...secrets } };
  }
  for (const { job, events } of state.jobs.values()) yield { kind: "job", job, events };
  for (const [name, key] of state.keys) {
    yield { kind: "key", key: { ...tenantAndKeyOf(name), ...key } };
  }
  for (const found of state.tokens.values()) yield { kind: "token", ...found };
  for (const row of state.audit) yield { kind: "audit", ...row };
  for (const provider of state.providers.values()) yield { kind: "provider", provider };
  for (const row of state.providerEvents) yield { kind: "provider_event", ...row };
  for (const given of listProviderStates(state)) yield { kind: "provider_state", state: given };
}

async function load(state: State, records: AsyncIterable<DumpRecord>): Promise<DumpCounts> {
  const maps = [state.jobs, state.workers, state.keys, state.tokens, state.providers];
  if (maps.some(({ size }) => size > 0) || state.audit.length > 0) {
    throw new HodeiError("failed_precondition", "the store to copy to is not empty");
  }
  const reader = new DumpReader();
  const rows: DumpedRow[] = [];
  for await (const row of reader.read(records)) rows.push(row);
  for (const row of rows) take(state, row);
  for (const { job } of state.jobs.values()) refreshShares(state, job.classKey);
  return reader.counts;
}

function take(state: State, row: DumpedRow): void {
  switch (row.kind) {
    case "job": {
      const { job, events } = row;
      state.jobs.set(job.id, { job, events, sequence: events.at(-1)?.sequence ?? 0 });
      return;
    }
    case "key": {
      const { tenant, key, ...rest } = row.key;
      state.keys.set(keyOf(tenant, key), rest);
      return;
    }
    case "worker": {
      const { otpHash, otpExpiresAt, sessionHash, ...worker } = row.worker;
      state.workers.set(worker.id, { worker, otpHash, otpExpiresAt, sessionHash });
      return;
    }
    case "token":
      state.tokens.set(row.token.id, { token: row.token, secretHash: row.secretHash });
      return;
    case "audit":
      state.audit.push({ entry: row.entry, expiresAt: row.expiresAt });
      state.auditSequence = row.entry.sequence;
      return;
    case "provider":
      state.providers.set(row.provider.name, row.provider);
      return;
    case "provider_event":
      state.providerEvents.push({ event: row.event, expiresAt: row.expiresAt });
      state.providerSequence = row.event.sequence;
      return;
    case "provider_state":
      state.providerStates.set(row.state.provider, row.state);
      return;
  }
}
