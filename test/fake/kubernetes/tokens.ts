import { createHmac, randomBytes, randomUUID, timingSafeEqual } from "node:crypto";

import { serviceAccountUser } from "./identities.ts";
import type { Objects } from "./objects.ts";
import type { User } from "./request.ts";

export interface TokenRequest {
  readonly namespace: string;
  readonly serviceAccount: string;
  /** The API server's own if empty. */
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  readonly pod?: { readonly name: string; readonly uid: string } | undefined;
  readonly node?: string | undefined;
}

interface Claims {
  readonly aud: readonly string[];
  readonly exp: number;
  readonly iat: number;
  readonly iss: string;
  readonly jti: string;
  readonly sub: string;
  readonly "kubernetes.io": {
    readonly namespace: string;
    readonly serviceaccount: { readonly name: string; readonly uid: string };
    readonly pod?: { readonly name: string; readonly uid: string };
    readonly node?: { readonly name: string };
  };
}

export type Review =
  { readonly user: User; readonly audiences: readonly string[] } | { readonly error: string };

const ownAudience = "https://kubernetes.default.svc";

/** Issues and reviews the tokens of service accounts. They end with the account and the pod. */
export class Tokens {
  private readonly key = randomBytes(32);
  private readonly objects: Objects;

  constructor(objects: Objects) {
    this.objects = objects;
  }

  /** Throws if there is no such account. */
  issue(request: TokenRequest): string {
    const account = this.objects.get("serviceaccounts", request.serviceAccount, request.namespace);
    if (account === undefined) {
      throw new Error(`serviceaccounts "${request.serviceAccount}" not found`);
    }
    const now = Math.floor(Date.now() / 1000);
    const claims: Claims = {
      aud: request.audiences.length === 0 ? [ownAudience] : request.audiences,
      exp: now + request.expirationSeconds,
      iat: now,
      iss: ownAudience,
      jti: randomUUID(),
      sub: `system:serviceaccount:${request.namespace}:${request.serviceAccount}`,
      "kubernetes.io": {
        namespace: request.namespace,
        serviceaccount: { name: request.serviceAccount, uid: account.metadata.uid },
        ...(request.pod === undefined ? {} : { pod: request.pod }),
        ...(request.node === undefined ? {} : { node: { name: request.node } }),
      },
    };
    const text = `${encode({ alg: "HS256", kid: "double" })}.${encode(claims)}`;
    return `${text}.${this.sign(text).toString("base64url")}`;
  }

  /** The user of a token that is meant for the API server itself. */
  userOf(token: string): User | undefined {
    const review = this.review(token, []);
    return "user" in review ? review.user : undefined;
  }

  /** With the words of a TokenReview's answer. */
  review(token: string, audiences: readonly string[]): Review {
    const claims = this.open(token);
    if (claims === undefined) return { error: "invalid bearer token" };
    const wanted = audiences.length === 0 ? [ownAudience] : audiences;
    const common = wanted.filter((audience) => claims.aud.includes(audience));
    if (common.length === 0) {
      return {
        error: `[invalid bearer token, token audiences ${quoted(claims.aud)} is invalid for the target audiences ${quoted(wanted)}]`,
      };
    }
    if (claims.exp * 1000 <= Date.now()) {
      return { error: "[invalid bearer token, service account token has expired]" };
    }
    const { namespace, serviceaccount, pod, node } = claims["kubernetes.io"];
    const account = this.objects.get("serviceaccounts", serviceaccount.name, namespace);
    if (account?.metadata.uid !== serviceaccount.uid) {
      return { error: "[invalid bearer token, service account token has been invalidated]" };
    }
    if (pod !== undefined) {
      const found = this.objects.get("pods", pod.name, namespace);
      if (found?.metadata.uid !== pod.uid) {
        return { error: "[invalid bearer token, service account token has been invalidated]" };
      }
    }
    const user = {
      ...serviceAccountUser(namespace, serviceaccount.name, serviceaccount.uid),
      extra: {
        "authentication.kubernetes.io/credential-id": [`JTI=${claims.jti}`],
        ...(node === undefined ? {} : { "authentication.kubernetes.io/node-name": [node.name] }),
        ...(pod === undefined
          ? {}
          : {
              "authentication.kubernetes.io/pod-name": [pod.name],
              "authentication.kubernetes.io/pod-uid": [pod.uid],
            }),
      },
    };
    return { user, audiences: audiences.length === 0 ? [] : common };
  }

  private open(token: string): Claims | undefined {
    const [header = "", payload = "", signature = ""] = token.split(".");
    const given = Buffer.from(signature, "base64url");
    const right = this.sign(`${header}.${payload}`);
    if (given.length !== right.length || !timingSafeEqual(given, right)) return undefined;
    return JSON.parse(Buffer.from(payload, "base64url").toString()) as Claims;
  }

  private sign(text: string): Buffer {
    return createHmac("sha256", this.key).update(text).digest();
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function quoted(texts: readonly string[]): string {
  return `[${texts.map((text) => JSON.stringify(text)).join(" ")}]`;
}
