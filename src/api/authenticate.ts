import { HodeiError } from "#error.ts";
import type { AuthContext, Incoming } from "#rpc/edge.ts";
import type { AccessStore } from "#store/store.ts";
import { hasRole, type Identity, type Role, type Token } from "#tenant/identity.ts";
import { hashSecret, isSameHash } from "#worker/secret.ts";
import { policies } from "./policy.ts";
import type { Refused } from "./refusals.ts";
import { outcomeOf } from "./status.ts";
import { TokenStreams } from "./token-streams.ts";

/** Who stands behind a call. An agent's subject is its worker's id. */
export type Caller = Identity & {
  readonly kind: "client" | "agent" | "anybody";
  /** The token that a client came with, unless it is the first admin's. */
  readonly token?: Pick<Token, "id" | "expiresAt">;
};

export type AcceptedCredential = "none" | "token" | "certificate" | "session";
export type RefusedCredential = "none" | "token" | "certificate" | "role" | "session";

export interface AuthenticatorOptions {
  readonly store: Pick<AccessStore, "findToken" | "listTokens">;
  /** SHA-256 of the first admin's token. */
  readonly adminTokenHash: Uint8Array | undefined;
  /** By the common name of a client's certificate; undefined when none are asked for. */
  readonly subjects:
    Readonly<Record<string, { readonly tenant: string; readonly role: Role }>> | undefined;
  /** Checks the session or one-time token of a worker's agent, and gives the worker's id. */
  readonly admitAgent: (incoming: Incoming) => Promise<string>;
  readonly now: () => number;
  /** A credential was refused: for the metrics. */
  readonly onRefused: (kind: RefusedCredential) => void;
  readonly onAccepted?: (kind: AcceptedCredential) => void;
  /** A change was refused before it was read: for the audit. */
  readonly onRefusedChange?: (refused: Refused) => void;
}

type Known = Identity & Pick<Caller, "token"> & { readonly by: AcceptedCredential };

export const cacheLimits = { tokens: 1_000, ttlMs: 5_000 } as const;

interface Remembered {
  readonly token: Token;
  readonly secretHash: Uint8Array;
  readonly until: number;
}

/** Opens an authenticator; whether anybody is let in depends on whether there is a token at all. */
export async function createAuthenticator(options: AuthenticatorOptions): Promise<Authenticator> {
  return new Authenticator(options, await hasAnyToken(options.store));
}

async function hasAnyToken(store: AuthenticatorOptions["store"]): Promise<boolean> {
  const { rows } = await store.listTokens({ pageSize: 1, pageToken: undefined });
  return rows.length > 0;
}

/** Denies by default: an RPC without a policy, a credential that is not good, a role that is too low. */
export class Authenticator {
  readonly #options: AuthenticatorOptions;
  readonly #remembered = new Map<string, Remembered>();
  readonly #streams = new TokenStreams();
  #hasTokens: boolean;
  #generation = 0;

  constructor(options: AuthenticatorOptions, hasTokens: boolean) {
    this.#options = options;
    this.#hasTokens = hasTokens;
  }

  /** Lets a call in or throws, from its metadata and connection alone. `isLoopback`: what its listener is bound to. */
  admit(incoming: Incoming, listener: { readonly isLoopback: boolean }): Caller | Promise<Caller> {
    const policy = ownValue(policies, incoming.method);
    if (policy === undefined) {
      throw new HodeiError("permission_denied", `nobody may call ${incoming.method}`);
    }
    if (policy.who === "anybody") return anybody;
    if (policy.who === "agent") return this.#agent(incoming);
    const check = ({ by, ...identity }: Known): Caller => {
      if (!hasRole(identity, policy.least)) {
        this.#options.onRefused("role");
        this.noteRefused(identity, incoming, "PERMISSION_DENIED");
        throw new HodeiError("permission_denied", `this needs the role ${policy.least}`);
      }
      this.#options.onAccepted?.(by);
      return { kind: "client", ...identity };
    };
    const unknown = (error: unknown): never => {
      this.noteRefused(undefined, incoming, outcomeOf(error));
      throw error;
    };
    let identity: Known | Promise<Known>;
    try {
      identity = this.#identify(incoming, listener.isLoopback);
    } catch (error) {
      return unknown(error);
    }
    return identity instanceof Promise ? identity.catch(unknown).then(check) : check(identity);
  }

  /** A call that was refused before its handler saw it goes on record if it was to change something. */
  noteRefused(caller: Identity | undefined, incoming: Incoming, outcome: string): void {
    const policy = ownValue(policies, incoming.method);
    if (policy?.who !== "client" || !policy.isMutating) return;
    this.#options.onRefusedChange?.({ caller, incoming, outcome });
  }

  /** A token was made or revoked here: what is remembered of it is wrong from now on. */
  forget(tokenId: string): void {
    this.#hasTokens = true;
    this.#generation++;
    this.#remembered.delete(tokenId);
    this.#streams.endOf(tokenId);
  }

  /** Ends the stream when its caller's token is revoked or has expired; gives what is to be called when it is over. */
  watch({ token }: Caller, end: () => void): (() => void) | undefined {
    if (token === undefined) return undefined;
    // It may have been revoked while the call was let in.
    const known = this.#remembered.get(token.id);
    if (known === undefined) this.#lookAgain(token.id, end);
    return this.#streams.add(token.id, { expiresAt: token.expiresAt, end });
  }

  /** Called again and again: streams whose token has expired are ended. */
  endExpired(): void {
    this.#streams.endExpired(this.#options.now());
  }

  /** Called again and again where other servers make and revoke tokens too: what they did counts here from then on, also for streams that are open. */
  async followOthers(): Promise<void> {
    if (!this.#hasTokens) this.#hasTokens = await hasAnyToken(this.#options.store);
    // One after the other, so that they never are a burst.
    for (const id of this.#streams.listTokens()) {
      if (isGone(await this.#fetch(id))) this.#streams.endOf(id);
    }
  }

  #lookAgain(id: string, end: () => void): void {
    this.#fetch(id).then(
      (found) => isGone(found) && end(),
      () => end(),
    );
  }

  async #agent(incoming: Incoming): Promise<Caller> {
    if (incoming.metadata.get("authorization").length > 0) this.#refuse("session");
    const subject = await this.#options.admitAgent(incoming);
    this.#options.onAccepted?.("session");
    return { kind: "agent", subject, tenant: "", role: "viewer" };
  }

  #identify(incoming: Incoming, isLoopback: boolean): Known | Promise<Known> {
    const { metadata } = incoming;
    // An agent's credentials are no client's, also where everybody is let in.
    if (agentKeys.some((key) => metadata.get(key).length > 0)) return this.#refuse("session");
    const given = metadata.get("authorization");
    if (given.length > 0) {
      const text = given.length === 1 ? bearerOf(String(given[0])) : undefined;
      return text === undefined ? this.#refuse("token") : this.#byToken(text);
    }
    const { subjects, adminTokenHash } = this.#options;
    const subject = subjects && commonNameOf(incoming.authContext());
    if (subjects !== undefined && subject !== undefined) {
      const rights = ownValue(subjects, subject);
      return rights === undefined
        ? this.#refuse("certificate")
        : { by: "certificate", subject, ...rights };
    }
    const isConfigured = this.#hasTokens || adminTokenHash !== undefined || subjects !== undefined;
    return isLoopback && !isConfigured ? anonymous : this.#refuse("none");
  }

  #byToken(text: string): Known | Promise<Known> {
    const { adminTokenHash, now } = this.#options;
    const hash = hashSecret(text);
    if (adminTokenHash !== undefined && isSameHash(hash, adminTokenHash)) return firstAdmin;
    const id = tokenPattern.exec(text)?.[1];
    if (id === undefined) return this.#refuse("token");
    const known = this.#remembered.get(id);
    if (known !== undefined && known.until > now()) return this.#check(known, hash);
    return this.#fetch(id).then((found) => this.#check(found, hash));
  }

  async #fetch(id: string): Promise<Remembered | undefined> {
    const generation = this.#generation;
    const found = await this.#options.store.findToken(id);
    if (found === undefined) return undefined;
    const known = { ...found, until: this.#options.now() + cacheLimits.ttlMs };
    // A revocation that came while the store was read must not be undone by what was read before it.
    if (generation === this.#generation) {
      if (this.#remembered.size >= cacheLimits.tokens) this.#remembered.clear();
      this.#remembered.set(id, known);
    }
    return known;
  }

  #check(known: Remembered | undefined, hash: Uint8Array): Known {
    if (known === undefined || !isSameHash(hash, known.secretHash)) return this.#refuse("token");
    const { id, subject, tenant, role, expiresAt, revokedAt } = known.token;
    const isExpired = expiresAt !== undefined && expiresAt <= this.#options.now();
    if (isExpired || revokedAt !== undefined) return this.#refuse("token");
    return { by: "token", subject, tenant, role, token: { id, expiresAt } };
  }

  #refuse(kind: RefusedCredential): never {
    this.#options.onRefused(kind);
    throw new HodeiError("unauthenticated", "no valid credential", {
      hint: "send `authorization: Bearer <token>`; an admin makes tokens with `hodei tokens create`",
    });
  }
}

/** `hodei_<id>_<secret>`. */
const tokenPattern = /^hodei_([a-z0-9]{1,32})_[A-Za-z0-9_-]{43}$/;
const agentKeys = ["hodei-worker-id", "hodei-session", "hodei-otp"] as const;
const firstAdmin: Known = { by: "token", subject: "admin", tenant: "default", role: "admin" };
const anonymous: Known = { by: "none", subject: "anonymous", tenant: "default", role: "admin" };
const anybody: Caller = { kind: "anybody", subject: "", tenant: "", role: "viewer" };

function isGone(found: Remembered | undefined): boolean {
  return found === undefined || found.token.revokedAt !== undefined;
}

function bearerOf(header: string): string | undefined {
  return /^bearer ([!-~]{16,512})$/i.exec(header)?.[1];
}

function commonNameOf(context: AuthContext): string | undefined {
  const name: unknown = context.sslPeerCertificate?.subject.CN;
  return typeof name === "string" ? name : undefined;
}

function ownValue<Value>(table: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
