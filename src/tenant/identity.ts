export const roles = ["viewer", "submitter", "operator", "admin"] as const;
/** What a caller may do; each role may do what the ones before it may. */
export type Role = (typeof roles)[number];

/** Who asks, as authenticated. Never taken from a message (DESIGN G16). */
export interface Identity {
  readonly subject: string;
  readonly tenant: string;
  readonly role: Role;
}

export function hasRole(identity: Identity, least: Role): boolean {
  return roles.indexOf(identity.role) >= roles.indexOf(least);
}

const tenantPattern = /^[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?$/;

/** Lower-case letters, digits and inner hyphens, at most 48: with a prefix it is a DNS label. */
export function isTenantName(text: string): boolean {
  return tenantPattern.test(text);
}

/** A client's bearer token without its secret. Times are milliseconds since 1970. */
export interface Token {
  readonly id: string;
  readonly subject: string;
  readonly tenant: string;
  readonly role: Role;
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
  readonly revokedAt: number | undefined;
}

/** One row of the append-only record of who changed what. */
export interface AuditEntry {
  readonly sequence: number;
  readonly at: number;
  readonly actor: string;
  readonly tenant: string;
  readonly action: string;
  readonly target: string;
  readonly outcome: string;
  readonly peer: string;
  readonly correlationId: string;
}
