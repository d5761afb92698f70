import type { AuditEntry, Token } from "#tenant/identity.ts";
import type { Page, PageQuery } from "./page.ts";

/** Tokens and the audit. */
export interface AccessStore {
  putToken(token: Token, secretHash: Uint8Array): Promise<void>;
  /** The token and the hash of its secret. */
  findToken(
    id: string,
  ): Promise<{ readonly token: Token; readonly secretHash: Uint8Array } | undefined>;
  /** By id. */
  listTokens(query: PageQuery): Promise<Page<Token>>;
  /** Error: `not_found`. Revoking twice keeps the first time. */
  revokeToken(id: string, now: number): Promise<Token>;
  appendAudit(entries: readonly NewAuditEntry[]): Promise<void>;
  /** Newest first. */
  listAudit(query: AuditQuery): Promise<Page<AuditEntry>>;
}

export type NewAuditEntry = Omit<AuditEntry, "sequence"> & { readonly expiresAt: number };

/** The row of a submit; the store adds what came of it (`describeSubmit`). */
export type SubmitAudit = Omit<NewAuditEntry, "target" | "outcome">;

export interface AuditQuery extends PageQuery {
  /** Empty: all. */
  readonly correlationId: string;
  readonly actor: string;
  readonly target: string;
}
