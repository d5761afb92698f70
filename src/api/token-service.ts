import { randomBytes } from "node:crypto";
import { HodeiError, invalid } from "#error.ts";
import type { TokenServiceService } from "#rpc/gen/hodei/v1/token_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import { msOf } from "#rpc/time.ts";
import type { AccessStore } from "#store/store.ts";
import type { Token } from "#tenant/identity.ts";
import { createSecret, hashSecret } from "#worker/secret.ts";
import type { Audit } from "./audit.ts";
import type { Authenticator, Caller } from "./authenticate.ts";
import { roleFromWire, tokenToWire } from "./convert.ts";
import {
  checkDuration,
  checkTenant,
  checkText,
  pageSizeOf,
  pageTokenOf,
  specLimits,
} from "./validate.ts";

export interface TokenServiceOptions {
  readonly store: Pick<AccessStore, "putToken" | "listTokens" | "revokeToken">;
  readonly authenticator: Pick<Authenticator, "forget">;
  readonly audit: Audit;
  readonly now: () => number;
}

const longestTtlMs = 3_650 * 24 * 3_600_000;

/** Manages the bearer tokens of clients. The text of a token is `hodei_<id>_<secret>`, and the hash of all of it is stored. */
export function tokenService(
  options: TokenServiceOptions,
): Handlers<typeof TokenServiceService, Caller> {
  const { store, authenticator, audit, now } = options;
  return {
    async createToken(request, call) {
      const id = randomBytes(8).toString("hex");
      return audit.around(call, id, async () => {
        const { subject, tenant } = request;
        checkText("subject", subject, specLimits.subjectCharacters);
        if (subject.trim() === "") throw invalid("subject", "is empty");
        checkTenant("tenant", tenant);
        const role = roleFromWire(request.role);
        if (role === undefined) throw invalid("role", "is missing");
        checkDuration("ttl", request.ttl, [1_000, longestTtlMs]);
        const ttlMs = msOf(request.ttl);
        const createdAt = now();
        const token: Token = {
          id,
          subject,
          tenant,
          role,
          createdAt,
          expiresAt: ttlMs === undefined ? undefined : createdAt + ttlMs,
          revokedAt: undefined,
        };
        const secret = `hodei_${id}_${createSecret()}`;
        await store.putToken(token, hashSecret(secret));
        authenticator.forget(id);
        return { token: tokenToWire(token), secret };
      });
    },

    async listTokens(request) {
      const page = await store.listTokens({
        pageSize: pageSizeOf(request.pageSize),
        pageToken: pageTokenOf(request.pageToken),
      });
      return { tokens: page.rows.map(tokenToWire), nextPageToken: page.nextPageToken ?? "" };
    },

    revokeToken: async (request, call) =>
      audit.around(call, request.tokenId, async () => {
        if (!/^[a-z0-9]{1,32}$/.test(request.tokenId)) {
          throw new HodeiError("not_found", `there is no token ${request.tokenId.slice(0, 64)}`);
        }
        const token = await store.revokeToken(request.tokenId, now());
        authenticator.forget(token.id);
        return { token: tokenToWire(token) };
      }),
  };
}
