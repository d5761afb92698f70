import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { TLSSocket } from "node:tls";

import type { User } from "./request.ts";
import { unauthorized } from "./status.ts";
import type { Tokens } from "./tokens.ts";

export const anonymous: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };

/** Which user a call comes from. Tokens and certificates of tests are registered here. */
export class Identities {
  private readonly bearers = new Map<string, User>();
  private readonly tokens: Tokens;
  private readonly areAnonymousAdmins: boolean;

  constructor(tokens: Tokens, options: { areAnonymousAdmins: boolean }) {
    this.tokens = tokens;
    this.areAnonymousAdmins = options.areAnonymousAdmins;
  }

  /** From now on the token is that of the user. */
  addToken(token: string, user: User): void {
    this.bearers.set(token, { ...user, groups: withAuthenticated(user.groups) });
  }

  revokeToken(token: string): void {
    this.bearers.delete(token);
  }

  /** Throws 401 for a token that nobody has. Impersonation is not applied yet. */
  authenticate(request: IncomingMessage): User {
    const [scheme, token = ""] = (request.headers.authorization ?? "").split(" ");
    if (scheme?.toLowerCase() === "bearer") {
      const user = this.bearers.get(token) ?? this.tokens.userOf(token);
      if (user === undefined) throw unauthorized();
      return user;
    }
    if (request.socket instanceof TLSSocket && request.socket.authorized) {
      const { subject } = request.socket.getPeerCertificate();
      const organizations: unknown = subject?.O;
      const groups = Array.isArray(organizations) ? organizations.map(String) : [];
      if (typeof organizations === "string") groups.push(organizations);
      if (typeof subject?.CN === "string") {
        return { name: subject.CN, groups: withAuthenticated(groups) };
      }
    }
    // A proxy that signs in for its clients, as `kubectl proxy` does.
    if (this.areAnonymousAdmins) return admin;
    return anonymous;
  }
}

export const admin: User = {
  name: "kubernetes-admin",
  groups: ["system:masters", "system:authenticated"],
};

/** Whom the call wants to be, by `Impersonate-User` and `-Group`; undefined for none. */
export function impersonated(headers: IncomingHttpHeaders): User | undefined {
  const name = headers["impersonate-user"];
  if (typeof name !== "string") return undefined;
  const given = headers["impersonate-group"];
  const listed = Array.isArray(given) ? given : (given ?? "").split(",");
  const groups = listed.map((group) => group.trim()).filter((group) => group !== "");
  return {
    name,
    groups: withAuthenticated(groups.length > 0 ? groups : serviceAccountGroups(name)),
  };
}

export function serviceAccountUser(namespace: string, name: string, uid?: string): User {
  const user = `system:serviceaccount:${namespace}:${name}`;
  return {
    name: user,
    ...(uid === undefined ? {} : { uid }),
    groups: withAuthenticated(serviceAccountGroups(user)),
  };
}

function serviceAccountGroups(user: string): string[] {
  const [, kind, namespace] = user.split(":");
  if (!user.startsWith("system:") || kind !== "serviceaccount") return [];
  return ["system:serviceaccounts", `system:serviceaccounts:${namespace}`];
}

function withAuthenticated(groups: readonly string[]): string[] {
  return [...new Set([...groups, "system:authenticated"])];
}
