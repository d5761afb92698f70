import type { DatabaseSync, StatementSync } from "node:sqlite";
import { HodeiError } from "#error.ts";
import type { AuditQuery, NewAuditEntry, Page, PageQuery } from "#store/store.ts";
import type { AuditEntry, Token } from "#tenant/identity.ts";
import { badToken, page } from "./lists.ts";

const scanLimit = 2_000;

type TokenRow = { readonly data: string; readonly hash: Uint8Array };
type AuditRow = { readonly sequence: number; readonly data: string };

/** Tokens, the audit, and the end of everything that expires. */
export class AccessSteps {
  readonly #putToken: StatementSync;
  readonly #selectToken: StatementSync;
  readonly #scanTokens: StatementSync;
  readonly #insertAudit: StatementSync;
  readonly #scanAudit: StatementSync;
  readonly #deleteSpecs: StatementSync;
  readonly #sweeps: readonly StatementSync[];

  constructor(db: DatabaseSync) {
    this.#putToken = db.prepare(
      "INSERT OR REPLACE INTO tokens (id, data, hash, expires_at) VALUES (?, ?, ?, ?)",
    );
    this.#selectToken = db.prepare("SELECT data, hash FROM tokens WHERE id = ?");
    this.#scanTokens = db.prepare("SELECT data, hash FROM tokens WHERE id > ? ORDER BY id LIMIT ?");
    this.#insertAudit = db.prepare("INSERT INTO audit (data, expires_at) VALUES (?, ?)");
    this.#scanAudit = db.prepare(
      "SELECT sequence, data FROM audit WHERE sequence < ? ORDER BY sequence DESC LIMIT ?",
    );
    const due = "expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at";
    this.#deleteSpecs = db.prepare(
      `DELETE FROM specs WHERE key IN (SELECT key FROM jobs WHERE ${due}, key LIMIT ?)`,
    );
    const sweep = (table: string, key: string) =>
      db.prepare(
        `DELETE FROM ${table} WHERE ${key} IN (SELECT ${key} FROM ${table} WHERE ${due}, ${key} LIMIT ?)`,
      );
    this.#sweeps = [
      sweep("jobs", "key"),
      sweep("workers", "key"),
      db.prepare(
        "DELETE FROM keys WHERE (tenant, key) IN (SELECT tenant, key FROM keys WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)",
      ),
      sweep("audit", "sequence"),
      sweep("provider_events", "sequence"),
      // The one with the greatest id stays.
      db.prepare(
        `DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE id < (SELECT max(id) FROM tokens) AND ${due}, id LIMIT ?)`,
      ),
    ];
  }

  putToken(token: Token, secretHash: Uint8Array): void {
    this.#putToken.run(token.id, JSON.stringify(token), secretHash, token.expiresAt ?? null);
  }

  findToken(id: string): { readonly token: Token; readonly secretHash: Uint8Array } | undefined {
    const row = this.#selectToken.get(id) as TokenRow | undefined;
    return row === undefined ? undefined : { token: decodeToken(row), secretHash: row.hash };
  }

  listTokens(query: PageQuery): Page<Token> {
    const { pageToken, pageSize } = query;
    if (pageToken?.startsWith("t:") === false) throw badToken();
    const rows = this.#scanTokens.all(pageToken?.slice(2) ?? "", pageSize + 1) as TokenRow[];
    return page<TokenRow, Token>(rows, {
      pageSize,
      isWhole: true,
      show: decodeToken,
      tokenOf: (row) => `t:${decodeToken(row).id}`,
    });
  }

  revokeToken(id: string, now: number): Token {
    const found = this.findToken(id);
    if (found === undefined) throw new HodeiError("not_found", `token ${id} is not known`);
    const token = { ...found.token, revokedAt: found.token.revokedAt ?? now };
    this.putToken(token, found.secretHash);
    return token;
  }

  appendAudit(entries: readonly NewAuditEntry[]): void {
    for (const { expiresAt, ...entry } of entries) {
      this.#insertAudit.run(JSON.stringify(entry), expiresAt);
    }
  }

  listAudit(query: AuditQuery): Page<AuditEntry> {
    const { pageToken, pageSize, correlationId, actor, target } = query;
    if (pageToken !== undefined && !/^a:\d{1,15}$/.test(pageToken)) throw badToken();
    const below = pageToken === undefined ? Number.MAX_SAFE_INTEGER : Number(pageToken.slice(2));
    const rows = this.#scanAudit.all(below, scanLimit) as AuditRow[];
    return page<AuditRow, AuditEntry>(rows, {
      pageSize,
      isWhole: rows.length < scanLimit,
      show: ({ sequence, data }) => {
        const entry = { ...(JSON.parse(data) as Omit<AuditEntry, "sequence">), sequence };
        const fits =
          (correlationId === "" || entry.correlationId === correlationId) &&
          (actor === "" || entry.actor === actor) &&
          (target === "" || entry.target === target);
        return fits ? entry : undefined;
      },
      tokenOf: (row) => `a:${row.sequence}`,
    });
  }

  expire(now: number, limit: number): number {
    let left = limit;
    this.#deleteSpecs.run(now, limit);
    for (const sweep of this.#sweeps) {
      if (left <= 0) break;
      left -= Number(sweep.run(now, left).changes);
    }
    return limit - left;
  }
}

function decodeToken(row: TokenRow): Token {
  const absent = { expiresAt: undefined, revokedAt: undefined };
  return { ...absent, ...(JSON.parse(row.data) as Token) };
}
