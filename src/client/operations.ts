import { type AuditEntry, AuditServiceService } from "#rpc/gen/hodei/v1/audit_service.ts";
import {
  type Role as WireRole,
  type Token as WireToken,
  TokenServiceService,
} from "#rpc/gen/hodei/v1/token_service.ts";
import {
  type Worker as WireWorker,
  type WorkerState as WireState,
  WorkerServiceService,
} from "#rpc/gen/hodei/v1/worker_service.ts";
import { durationOf } from "#rpc/time.ts";
import type { CallOptions, Channel } from "./channel.ts";
import { given } from "./error.ts";
import { allPages } from "./pages.ts";

export const workerStates = [
  "planned",
  "starting",
  "ready",
  "draining",
  "stopping",
  "ended",
] as const;
export type WorkerState = (typeof workerStates)[number];

export const roles = ["viewer", "submitter", "operator", "admin"] as const;
export type Role = (typeof roles)[number];

/** A worker as the server has it. */
export interface Worker extends Omit<WireWorker, "state" | "connected"> {
  readonly state: WorkerState;
  /** Whether its agent is connected to the server now. */
  readonly isConnected: boolean;
}

/** A bearer token without its secret. */
export interface Token extends Omit<WireToken, "role"> {
  readonly role: Role;
}

export type { AuditEntry };

export interface WorkerFilter extends CallOptions {
  /** Default: all that are not over. */
  readonly states?: readonly WorkerState[] | undefined;
  readonly provider?: string | undefined;
}

export interface TokenSpec {
  readonly subject: string;
  readonly tenant: string;
  readonly role: Role;
  /** Default: good until revoked. */
  readonly ttlMs?: number | undefined;
}

export interface AuditFilter extends CallOptions {
  readonly correlationId?: string | undefined;
  readonly actor?: string | undefined;
  readonly target?: string | undefined;
}

/** Workers: for operators and admins; others see those of their own tenant. */
export class Workers {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Newest first. */
  async *list(filter: WorkerFilter = {}): AsyncGenerator<Worker, void, undefined> {
    const { provider = "", states = [], signal } = filter;
    const wanted = states.map((state) => (workerStates.indexOf(state) + 1) as WireState);
    yield* allPages(async (page) => {
      const request = { states: wanted, provider, ...page };
      const answer = await this.#channel.call(WorkerServiceService.listWorkers, request, {
        signal,
      });
      return { items: answer.workers.map(workerFromWire), next: answer.nextPageToken };
    });
  }

  async get(workerId: string, options: CallOptions = {}): Promise<Worker> {
    const request = { workerId };
    const { worker } = await this.#channel.call(WorkerServiceService.getWorker, request, options);
    return workerFromWire(given(worker));
  }

  /** Lets it finish what it has and take nothing new. */
  async drain(workerId: string, options: CallOptions = {}): Promise<Worker> {
    const request = { workerId };
    const { worker } = await this.#channel.call(WorkerServiceService.drainWorker, request, options);
    return workerFromWire(given(worker));
  }

  /** Ends it and what runs on it. */
  async terminate(
    workerId: string,
    options: CallOptions & { readonly reason?: string | undefined } = {},
  ): Promise<Worker> {
    const method = WorkerServiceService.terminateWorker;
    const request = { workerId, reason: options.reason ?? "" };
    const { worker } = await this.#channel.call(method, request, options);
    return workerFromWire(given(worker));
  }
}

/** Bearer tokens of clients: for admins. */
export class Tokens {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** The secret is in this answer and nowhere else. Not repeated when its outcome is unknown. */
  async create(
    spec: TokenSpec,
    options: CallOptions = {},
  ): Promise<{ token: Token; secret: string }> {
    const { subject, tenant, role, ttlMs } = spec;
    const request = {
      subject,
      tenant,
      role: (roles.indexOf(role) + 1) as WireRole,
      ttl: ttlMs === undefined ? undefined : durationOf(ttlMs),
    };
    const method = TokenServiceService.createToken;
    const { token, secret } = await this.#channel.callOnce(method, request, options);
    return { token: tokenFromWire(given(token)), secret };
  }

  async *list({ signal }: CallOptions = {}): AsyncGenerator<Token, void, undefined> {
    yield* allPages(async (page) => {
      const answer = await this.#channel.call(TokenServiceService.listTokens, page, { signal });
      return { items: answer.tokens.map(tokenFromWire), next: answer.nextPageToken };
    });
  }

  async revoke(tokenId: string, options: CallOptions = {}): Promise<Token> {
    const method = TokenServiceService.revokeToken;
    const { token } = await this.#channel.call(method, { tokenId }, options);
    return tokenFromWire(given(token));
  }
}

/** The record of who changed what: for admins. */
export class Audit {
  readonly #channel: Channel;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** Newest first. */
  async *list(filter: AuditFilter = {}): AsyncGenerator<AuditEntry, void, undefined> {
    const { correlationId = "", actor = "", target = "", signal } = filter;
    yield* allPages(async (page) => {
      const request = { correlationId, actor, target, ...page };
      const method = AuditServiceService.listAuditEntries;
      const answer = await this.#channel.call(method, request, { signal });
      return { items: answer.entries, next: answer.nextPageToken };
    });
  }
}

function workerFromWire({ state, connected, ...rest }: WireWorker): Worker {
  return { ...rest, state: workerStates[state - 1] ?? "planned", isConnected: connected };
}

function tokenFromWire({ role, ...rest }: WireToken): Token {
  return { ...rest, role: roles[role - 1] ?? "viewer" };
}
