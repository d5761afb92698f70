import type { Metadata } from "@grpc/grpc-js";
import { HodeiError } from "#error.ts";
import { isWorkerId, type WorkerId } from "#job/id.ts";
import { AgentServiceService } from "#rpc/gen/hodei/v1/agent_service.ts";
import type { AccessStore, RedeemOutcome, WorkerStore } from "#store/store.ts";
import type { Logger } from "#telemetry.ts";
import { hashSecret, isSameHash } from "#worker/secret.ts";

export type AgentRefusal =
  | Extract<RedeemOutcome, { kind: "refused" }>["reason"]
  | "malformed"
  | "wrong_session"
  | "not_attested";

export interface AgentAuthOptions {
  readonly store: Pick<WorkerStore, "redeem" | "findSession"> & Pick<AccessStore, "appendAudit">;
  readonly log: Logger;
  readonly auditTtlMs: number;
  readonly now: () => number;
  readonly onRefused: (reason: AgentRefusal) => void;
  /** Asks the worker's provider whether the token was made for it (DESIGN G15). Rejects with `unavailable` when nobody can say now. Absent: nobody is attested. */
  readonly attest?: (id: WorkerId, token: string) => Promise<boolean>;
  /** The worker has its session: what held its token may go. Also after a repeat. */
  readonly onRedeemed?: (id: WorkerId) => void;
}

/** Where a call comes from, for the audit. */
export interface AgentCall {
  readonly metadata: Metadata;
  /** Such as `/hodei.v1.AgentService/Control`. */
  readonly method: string;
  readonly peer: string;
  readonly correlationId: string;
}

/** Refused tokens that are audited in one window for each reason; a flood of more is only counted, and hides nothing of another kind. */
const auditBound = { entries: 100, windowMs: 10_000 } as const;

/** Attestations cost a call to somebody else, and are asked for by whoever likes: one at a time for each worker, few for all. */
const mostAttestations = 32;

/**
 * Knows agents by their credentials (DESIGN G13, G14), which are in the metadata alone. Every refusal has the same text, whatever its reason. The session's hash
 * is read from the store each time, so that it dies at once with its worker.
 */
export class AgentAuth {
  readonly #options: AgentAuthOptions;
  readonly #admitted = new WeakMap<Metadata, WorkerId>();
  readonly #attesting = new Set<WorkerId>();
  readonly #windows = new Map<AgentRefusal, { endsAt: number; entries: number }>();

  constructor(options: AgentAuthOptions) {
    this.#options = options;
  }

  /** The worker whose agent calls; for Redeem, the token is exchanged here, before a body is read. Error: `unauthenticated`. */
  async admit(call: AgentCall): Promise<WorkerId> {
    const known = this.#admitted.get(call.metadata);
    if (known !== undefined) return known;
    const id = single(call.metadata, "hodei-worker-id");
    const session = single(call.metadata, "hodei-session");
    if (id === undefined || !isWorkerId(id) || session === undefined || !isSecret(session)) {
      return this.#refuse("malformed");
    }
    const sessionHash = hashSecret(session);
    if (call.method === AgentServiceService.redeem.path) {
      await this.#redeem(id, sessionHash, call);
    } else {
      const stored = await this.#options.store.findSession(id);
      if (stored === undefined || !isSameHash(stored, sessionHash)) this.#refuse("wrong_session");
    }
    this.#admitted.set(call.metadata, id);
    return id;
  }

  async #redeem(id: WorkerId, sessionHash: Uint8Array, call: AgentCall): Promise<void> {
    const { store, log, now, onRedeemed } = this.#options;
    const otpHash = await this.#proofOf(id, call);
    const outcome =
      otpHash === undefined
        ? ({ kind: "refused", reason: "not_attested" } as const)
        : await store.redeem(id, { otpHash, sessionHash }, now());
    const { peer, correlationId } = call;
    if (outcome.kind === "ok") {
      if (!outcome.isRepeat) log.info({ workerId: id, peer, correlationId }, "worker redeemed");
      onRedeemed?.(id);
      return;
    }
    const { reason } = outcome;
    await this.#audit(id, reason, call);
    const facts = { workerId: id, peer, reason, correlationId };
    // Somebody else has, or had, this worker's token.
    if (reason === "already_redeemed") log.warn(facts, "a second claimant was refused");
    else log.info(facts, "one-time token refused");
    this.#refuse(reason);
  }

  /** What the claimant has to show; undefined when its provider does not vouch for it. */
  async #proofOf(id: WorkerId, call: AgentCall): Promise<Uint8Array | "attested" | undefined> {
    const token = single(call.metadata, "hodei-attestation");
    if (token === undefined) {
      const otp = single(call.metadata, "hodei-otp");
      return otp !== undefined && isSecret(otp) ? hashSecret(otp) : this.#refuse("malformed");
    }
    const { attest } = this.#options;
    if (!isAttestation(token)) return this.#refuse("malformed");
    if (attest === undefined) return undefined;
    if (this.#attesting.has(id) || this.#attesting.size >= mostAttestations) {
      throw new HodeiError("unavailable", "too many attestations at a time");
    }
    this.#attesting.add(id);
    try {
      return (await attest(id, token)) ? "attested" : undefined;
    } finally {
      this.#attesting.delete(id);
    }
  }

  async #audit(id: WorkerId, reason: AgentRefusal, call: AgentCall): Promise<void> {
    const { store, now, auditTtlMs } = this.#options;
    const at = now();
    let window = this.#windows.get(reason);
    if (window === undefined || at >= window.endsAt) {
      window = { endsAt: at + auditBound.windowMs, entries: 0 };
      this.#windows.set(reason, window);
    }
    if (++window.entries > auditBound.entries) return;
    const { peer, correlationId } = call;
    const action = "otp_refused";
    const entry = { at, actor: id, tenant: "", action, target: id, outcome: reason, peer };
    await store.appendAudit([{ ...entry, correlationId, expiresAt: at + auditTtlMs }]);
  }

  #refuse(reason: AgentRefusal): never {
    this.#options.onRefused(reason);
    throw new HodeiError("unauthenticated", "worker credentials refused");
  }
}

function single(metadata: Metadata, key: string): string | undefined {
  const values = metadata.get(key);
  return values.length === 1 && typeof values[0] === "string" ? values[0] : undefined;
}

/** A signed token in three parts. */
function isAttestation(text: string): boolean {
  return text.length <= 8_192 && /^[-\w]+\.[-\w]+\.[-\w]+$/.test(text);
}

function isSecret(text: string): boolean {
  return /^[!-~]{32,256}$/.test(text);
}
