import type { Incoming } from "#rpc/edge.ts";
import type { Identity } from "#tenant/identity.ts";
import type { Logger } from "#telemetry.ts";
import type { Audit } from "./audit.ts";

export interface RefusalsOptions {
  readonly audit: Pick<Audit, "append">;
  readonly log: Logger;
  readonly now: () => number;
}

/** Rows in one window for one caller, and callers with rows in it: a flood hides nobody else's refusals, and fills no disk. */
const bounds = { entries: 20, callers: 100, windowMs: 10_000 } as const;

/** Records the changes that callers asked for without having the right to; must not wait, since such calls are refused before they are read. */
export function createRefusals({
  audit,
  log,
  now,
}: RefusalsOptions): (caller: Identity, incoming: Incoming) => void {
  let endsAt = 0;
  let counts = new Map<string, number>();
  return ({ subject, tenant }, { method, peer, correlationId }) => {
    const at = now();
    if (at >= endsAt) {
      endsAt = at + bounds.windowMs;
      counts = new Map();
    }
    const key = `${tenant}\n${subject}`;
    const count = counts.get(key) ?? 0;
    if (count >= bounds.entries || (count === 0 && counts.size >= bounds.callers)) return;
    counts.set(key, count + 1);
    const action = method.slice(method.lastIndexOf("/") + 1);
    const what = { action, target: "", outcome: "PERMISSION_DENIED" };
    audit.append({ at, actor: subject, tenant, ...what, peer, correlationId }).catch((err) => {
      log.error({ err }, "an audit entry was not stored");
    });
  };
}
