import type { Incoming } from "#rpc/edge.ts";
import type { Identity } from "#tenant/identity.ts";
import type { Logger } from "#telemetry.ts";
import type { Audit } from "./audit.ts";

export interface RefusalsOptions {
  readonly audit: Pick<Audit, "append">;
  readonly log: Logger;
  readonly now: () => number;
}

/** Whose change was refused before anybody read it, and how. `caller`: undefined where nobody knows. */
export interface Refused {
  readonly caller: Identity | undefined;
  readonly incoming: Incoming;
  /** Name of the status, such as `PERMISSION_DENIED`. */
  readonly outcome: string;
}

interface Bounds {
  readonly windowMs: number;
  readonly each: number;
  readonly callers: number;
  readonly all: number;
}

/** Rows in a window for one caller, callers with rows in it, and rows in all: a flood hides nobody else's refusals, and fills no disk. */
const short: Bounds = { windowMs: 10_000, each: 20, callers: 100, all: 2_000 };
const long: Bounds = { windowMs: 24 * 3_600_000, each: 1_000, callers: 10_000, all: 20_000 };

/** Records the changes that were refused before they were read; must not wait. */
export function createRefusals({ audit, log, now }: RefusalsOptions): (refused: Refused) => void {
  const windows = [new Window(short), new Window(long)];
  return ({ caller, incoming, outcome }) => {
    const { method, peer, correlationId } = incoming;
    const { subject, tenant } = caller ?? { subject: "", tenant: "" };
    const at = now();
    const key = `${tenant}\n${subject}`;
    if (!windows.every((window) => window.hasRoom(key, at))) return;
    for (const window of windows) window.count(key);
    const action = method.slice(method.lastIndexOf("/") + 1);
    const what = { action, target: "", outcome };
    audit.append({ at, actor: subject, tenant, ...what, peer, correlationId }).catch((err) => {
      log.error({ err }, "an audit entry was not stored");
    });
  };
}

class Window {
  readonly #bounds: Bounds;
  #endsAt = 0;
  #all = 0;
  #counts = new Map<string, number>();

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  hasRoom(key: string, at: number): boolean {
    const { windowMs, each, callers, all } = this.#bounds;
    if (at >= this.#endsAt) {
      this.#endsAt = at + windowMs;
      this.#all = 0;
      this.#counts = new Map();
    }
    const count = this.#counts.get(key) ?? 0;
    return this.#all < all && count < each && (count > 0 || this.#counts.size < callers);
  }

  count(key: string): void {
    this.#all++;
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }
}
