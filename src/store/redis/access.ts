import type { AccessStore, AuditQuery } from "#store/store.ts";
import type { AuditEntry, Role, Token } from "#tenant/identity.ts";
import { checked } from "./fault.ts";
import { auditOf } from "./jobs.ts";
import type { Link } from "./link.ts";
import { badToken, readPage } from "./page.ts";
import { pack, unpack, type Unpacked } from "./pack.ts";
import { bufferOf } from "./rows.ts";
import { isAbsent, maybeNumber, toBytes, toList, toNumber, toText } from "./values.ts";

const scanSize = 200;

export function accessSteps(link: Link): AccessStore {
  return {
    putToken: async (token, secretHash) => {
      const { id, subject, tenant, role, createdAt, expiresAt, revokedAt } = token;
      const row = pack([id, subject, tenant, role, createdAt, expiresAt, revokedAt, secretHash]);
      await link.step("putToken", id, row, expiresAt);
    },
    findToken: async (id) => {
      const answer = await link.step("findToken", id);
      return isAbsent(answer) ? undefined : tokenOf(answer);
    },
    listTokens: async ({ pageSize, pageToken }) => {
      if (pageToken?.startsWith("t:") === false) throw badToken();
      const tokenText = (token: Token) => `t:${token.id}`;
      return readPage<Token>(
        { pageSize, from: pageToken, fits: () => true, tokenOf: tokenText },
        async (from) => {
          const found = toList(await link.step("scanTokens", from?.slice(2), pageSize + 1));
          const rows = found.map((row) => tokenOf(row).token);
          return { rows, next: rows.length <= pageSize ? undefined : `t:${rows.at(-1)?.id}` };
        },
      );
    },
    revokeToken: async (id, now) => tokenOf(checked(await link.step("revokeToken", id, now))).token,
    appendAudit: async (entries) => {
      await link.step("appendAudit", entries.map(auditOf));
    },
    listAudit: async (query) => listAudit(link, query),
  };
}

export function tokenOf(answer: Unpacked): {
  readonly token: Token;
  readonly secretHash: Uint8Array;
} {
  const row = toList(unpack(bufferOf(answer))[0]);
  const token = {
    id: toText(row[0]),
    subject: toText(row[1]),
    tenant: toText(row[2]),
    role: toText(row[3]) as Role,
    createdAt: toNumber(row[4]),
    expiresAt: maybeNumber(row[5]),
    revokedAt: maybeNumber(row[6]),
  };
  return { token, secretHash: toBytes(row[7]) };
}

function listAudit(link: Link, query: AuditQuery) {
  const { pageToken, pageSize, correlationId, actor, target } = query;
  if (pageToken !== undefined && !/^a:\d{1,15}$/.test(pageToken)) throw badToken();
  const fits = (entry: AuditEntry) =>
    (correlationId === "" || entry.correlationId === correlationId) &&
    (actor === "" || entry.actor === actor) &&
    (target === "" || entry.target === target);
  return readPage<AuditEntry>(
    { pageSize, from: pageToken, fits, tokenOf: (entry) => `a:${entry.sequence}` },
    async (from) => {
      const below = from === undefined ? undefined : Number(from.slice(2));
      const [list, isMore] = toList(await link.step("scanAudit", below, scanSize));
      const rows = toList(list).map(auditEntryOf);
      const last = rows.at(-1);
      const next = isMore === true && last !== undefined ? `a:${last.sequence}` : undefined;
      return { rows, next };
    },
  );
}

export function auditEntryOf(answer: Unpacked): AuditEntry {
  const [sequence, raw] = toList(answer);
  const row = toList(unpack(bufferOf(raw))[0]);
  return {
    sequence: toNumber(sequence),
    at: toNumber(row[0]),
    actor: toText(row[1]),
    tenant: toText(row[2]),
    action: toText(row[3]),
    target: toText(row[4]),
    outcome: toText(row[5]),
    peer: toText(row[6]),
    correlationId: toText(row[7]),
  };
}
