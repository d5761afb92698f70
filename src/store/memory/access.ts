import { HodeiError } from "#error.ts";
import type { AuditQuery, NewAuditEntry, Page, PageQuery } from "#store/store.ts";
import type { AuditEntry, Token } from "#tenant/identity.ts";
import { cut } from "./page.ts";
import type { State } from "./state.ts";

export function listTokens(state: State, query: PageQuery): Page<Token> {
  const tokens = [...state.tokens.values()].map((entry) => entry.token);
  tokens.sort((one, other) => (one.id < other.id ? -1 : 1));
  return cut(tokens, query, {
    isToken: (token) => token.startsWith("t:"),
    isAfter: (row, token) => row.id > token.slice(2),
    tokenOf: (row) => `t:${row.id}`,
  });
}

export function revokeToken(state: State, id: string, now: number): Token {
  const entry = state.tokens.get(id);
  if (entry === undefined) throw new HodeiError("not_found", `token ${id} is not known`);
  entry.token = { ...entry.token, revokedAt: entry.token.revokedAt ?? now };
  return entry.token;
}

export function appendAudit(state: State, entries: readonly NewAuditEntry[]): void {
  for (const { expiresAt, ...entry } of entries) {
    state.auditSequence++;
    state.audit.push({ entry: { ...entry, sequence: state.auditSequence }, expiresAt });
  }
}

export function listAudit(state: State, query: AuditQuery): Page<AuditEntry> {
  const fits = (entry: AuditEntry) =>
    (query.correlationId === "" || entry.correlationId === query.correlationId) &&
    (query.actor === "" || entry.actor === query.actor) &&
    (query.target === "" || entry.target === query.target);
  const rows = state.audit.map((row) => row.entry).filter(fits);
  rows.sort((one, other) => other.sequence - one.sequence);
  return cut(rows, query, {
    isToken: (token) => /^a:\d+$/.test(token),
    isAfter: (row, token) => row.sequence < Number(token.slice(2)),
    tokenOf: (row) => `a:${row.sequence}`,
  });
}

/** Jobs, then workers, keys, audit rows, events of providers, tokens; those that expired first come first. */
export function expire(state: State, now: number, limit: number): number {
  let left = limit;
  const sweep = <Key>(expiries: [Key, number | undefined][], remove: (key: Key) => void): void => {
    const due = expiries.filter(([, at]) => at !== undefined && at <= now);
    due.sort(([, one], [, other]) => (one ?? 0) - (other ?? 0));
    for (const [key] of due.slice(0, left)) {
      remove(key);
      left--;
    }
  };
  const { jobs, workers, keys, audit, tokens } = state;
  sweep(
    [...jobs].map(([id, { job }]) => [id, job.expiresAt]),
    (id) => jobs.delete(id),
  );
  sweep(
    [...workers].map(([id, { worker }]) => [id, worker.expiresAt]),
    (id) => workers.delete(id),
  );
  sweep(
    [...keys].map(([id, key]) => [id, key.expiresAt]),
    (id) => keys.delete(id),
  );
  sweep(
    audit.map((row) => [row, row.expiresAt]),
    (row) => audit.splice(audit.indexOf(row), 1),
  );
  sweep(
    state.providerEvents.map((row) => [row, row.expiresAt]),
    (row) => state.providerEvents.splice(state.providerEvents.indexOf(row), 1),
  );
  const last = [...tokens.keys()].sort().at(-1);
  sweep(
    [...tokens].map(([id, { token }]) => [id, id === last ? undefined : token.expiresAt]),
    (id) => tokens.delete(id),
  );
  return limit - left;
}
