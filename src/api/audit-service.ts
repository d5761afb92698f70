import type { AuditServiceService } from "#rpc/gen/hodei/v1/audit_service.ts";
import type { Handlers } from "#rpc/serve.ts";
import type { AccessStore } from "#store/store.ts";
import type { Audit } from "./audit.ts";
import type { Caller } from "./authenticate.ts";
import { auditToWire } from "./convert.ts";
import { checkText, pageSizeOf, pageTokenOf } from "./validate.ts";

export interface AuditServiceOptions {
  readonly store: Pick<AccessStore, "listAudit">;
  readonly audit: Pick<Audit, "flush">;
}

/** Reads who changed what. */
export function auditService(
  options: AuditServiceOptions,
): Handlers<typeof AuditServiceService, Caller> {
  return {
    async listAuditEntries(request) {
      const { correlationId, actor, target } = request;
      checkText("correlation_id", correlationId, 128);
      checkText("actor", actor, 256);
      checkText("target", target, 256);
      // Entries that were recorded before this call are in its answer.
      await options.audit.flush();
      const page = await options.store.listAudit({
        correlationId,
        actor,
        target,
        pageSize: pageSizeOf(request.pageSize),
        pageToken: pageTokenOf(request.pageToken),
      });
      return { entries: page.rows.map(auditToWire), nextPageToken: page.nextPageToken ?? "" };
    },
  };
}
