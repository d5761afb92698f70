import type { CircuitState } from "./scheduler.ts";

/**
 * Keeps work away from a provider that fails. closed → open: too many starts in a row have failed, or the provider says that it is sick. open → half_open:
 * a pause has passed that grows with every opening, or the provider says that it is well again. half_open → closed: enough probes went well, one at a
 * time, or the provider, which only ever was sick, has said often enough that it is well; → open: a probe failed. Of starts that were planned before the
 * present state began only those of a closed circuit count.
 */
export interface Circuit {
  readonly state: CircuitState;
  /** When the state began. */
  readonly since: number;
  readonly reason: string;
  /** Starts that failed in a row while closed. */
  readonly failures: number;
  /** Whether it opened since the provider was sick, and not since starts failed. */
  readonly isForHealth: boolean;
  /** Probes that went well while half open. */
  readonly successes: number;
  /** How often it opened since it was closed last. */
  readonly openings: number;
  /** Until when it stays open; undefined: until the provider is well. */
  readonly until: number | undefined;
}

export type CircuitNews =
  | { readonly kind: "failed"; readonly plannedAt: number; readonly reason: string }
  | { readonly kind: "succeeded"; readonly plannedAt: number }
  | { readonly kind: "sick"; readonly reason: string }
  | { readonly kind: "well" }
  /** Nothing but the time. */
  | { readonly kind: "none" };

export interface CircuitLimits {
  /** Starts that fail in a row until it opens. */
  readonly circuitFailures: number;
  /** Probes that go well until it closes. */
  readonly circuitSuccesses: number;
  /** First pause of an open circuit; doubles up to the second. */
  readonly circuitOpenMs: number;
  readonly maxCircuitOpenMs: number;
}

export interface CircuitContext {
  readonly now: number;
  /** From 0 to 1. */
  readonly random: number;
  readonly limits: CircuitLimits;
}

export function closedCircuit(now: number): Circuit {
  return {
    state: "closed",
    since: now,
    reason: "",
    failures: 0,
    isForHealth: false,
    successes: 0,
    openings: 0,
    until: undefined,
  };
}

/** The circuit after the news; the same object when nothing changed. */
export function moveCircuit(given: Circuit, news: CircuitNews, context: CircuitContext): Circuit {
  const circuit = withinTime(given, context.now);
  switch (circuit.state) {
    case "closed":
      return moveClosed(circuit, news, context);
    case "open":
      return moveOpen(circuit, news, context);
    case "half_open":
      return moveHalfOpen(circuit, news, context);
  }
}

/** A clock that was set back makes no pause longer and no start too old. */
function withinTime(circuit: Circuit, now: number): Circuit {
  const { since, until } = circuit;
  if (now >= since) return circuit;
  return { ...circuit, since: now, until: until === undefined ? undefined : until - since + now };
}

function moveClosed(circuit: Circuit, news: CircuitNews, context: CircuitContext): Circuit {
  switch (news.kind) {
    case "failed": {
      const failures = circuit.failures + 1;
      if (failures < context.limits.circuitFailures) return { ...circuit, failures };
      return open(circuit, context, `${failures} starts in a row failed: ${news.reason}`);
    }
    case "succeeded":
      return circuit.failures === 0 ? circuit : { ...circuit, failures: 0 };
    case "sick":
      return { ...open(circuit, context, news.reason), isForHealth: true, until: undefined };
    case "well":
    case "none":
      return circuit;
  }
}

function moveOpen(circuit: Circuit, news: CircuitNews, context: CircuitContext): Circuit {
  if (news.kind === "sick") {
    return circuit.until === undefined ? circuit : { ...circuit, until: undefined };
  }
  // What it has paused for is past: it may show at once that it works.
  const isOver = circuit.until === undefined ? news.kind === "well" : context.now >= circuit.until;
  if (!isOver) return circuit;
  return { ...circuit, state: "half_open", since: context.now, successes: 0, until: undefined };
}

function moveHalfOpen(circuit: Circuit, news: CircuitNews, context: CircuitContext): Circuit {
  switch (news.kind) {
    case "failed":
      if (news.plannedAt < circuit.since) return circuit;
      return open(circuit, context, `a probe failed: ${news.reason}`);
    case "succeeded":
      return news.plannedAt < circuit.since ? circuit : countSuccess(circuit, context);
    case "sick": {
      const { isForHealth } = circuit;
      return { ...open(circuit, context, news.reason), isForHealth, until: undefined };
    }
    case "well":
      return circuit.isForHealth ? countSuccess(circuit, context) : circuit;
    case "none":
      return circuit;
  }
}

function countSuccess(circuit: Circuit, { now, limits }: CircuitContext): Circuit {
  const successes = circuit.successes + 1;
  return successes < limits.circuitSuccesses ? { ...circuit, successes } : closedCircuit(now);
}

/** The pause varies, so that the circuits of many servers do not all probe at once. */
function open(
  { openings }: Circuit,
  { now, random, limits }: CircuitContext,
  reason: string,
): Circuit {
  const pauseMs = Math.min(limits.maxCircuitOpenMs, limits.circuitOpenMs * 2 ** openings);
  const until = now + pauseMs * (0.8 + 0.4 * random);
  return {
    state: "open",
    since: now,
    reason,
    failures: 0,
    isForHealth: false,
    successes: 0,
    openings: openings + 1,
    until,
  };
}
