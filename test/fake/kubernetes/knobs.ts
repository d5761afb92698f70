import { setTimeout as delay } from "node:timers/promises";

import type { ApiRequest } from "./request.ts";
import { ApiError } from "./status.ts";

/** Which calls are meant; what is left out fits all. Watches only if the verb says so. */
export interface CallMatch {
  readonly verb?: string;
  /** With the subresource: `pods/log`. */
  readonly resource?: string;
  readonly namespace?: string;
  readonly name?: string | RegExp;
  readonly user?: string;
}

export interface Call {
  readonly verb: string;
  readonly resource: string;
  readonly namespace: string;
  readonly name: string;
  readonly user: string;
  readonly method: string;
  readonly path: string;
  /** 0 while it has no answer, and if that was lost. */
  status: number;
}

export interface Failure {
  readonly code: number;
  readonly reason?: string;
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

interface Plan {
  readonly match: CallMatch;
  left: number;
  readonly act: "fail" | "lose" | "drop" | "delay";
  readonly failure?: Failure;
  readonly ms?: number;
}

const reasons: Readonly<Record<number, string>> = {
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  410: "Expired",
  429: "TooManyRequests",
  500: "InternalError",
  503: "ServiceUnavailable",
  504: "Timeout",
};

const messages: Readonly<Record<number, string>> = {
  429: "too many requests",
  500: "Internal error occurred: etcdserver: request timed out",
  503: "the server is currently unable to handle the request",
  504: "Timeout: request did not complete within the allotted timeout",
};

/** What a test lets the server do wrong, and what it has seen. */
export class Knobs {
  readonly calls: Call[] = [];
  private readonly plans = new Set<Plan>();
  isRefusing = false;

  /** The next `times` calls that match are refused. */
  fail(match: CallMatch, failure: Failure, times = 1): Disposable {
    return this.plan({ match, act: "fail", failure, left: times });
  }

  /** The next calls that match are done, but their answer never comes. */
  loseReply(match: CallMatch, times = 1): Disposable {
    return this.plan({ match, act: "lose", left: times });
  }

  /** The next calls that match are not done, and their connection breaks. */
  drop(match: CallMatch, times = 1): Disposable {
    return this.plan({ match, act: "drop", left: times });
  }

  /** Calls that match take longer, until disposed. */
  delay(match: CallMatch, ms: number, times = Infinity): Disposable {
    return this.plan({ match, act: "delay", ms, left: times });
  }

  /** Every connection breaks at once, until disposed. */
  refuse(): Disposable {
    this.isRefusing = true;
    return { [Symbol.dispose]: () => void (this.isRefusing = false) };
  }

  /** How many calls came, watches not counted unless asked for. */
  count(match: CallMatch = {}): number {
    return this.calls.filter((call) => fits(match, call)).length;
  }

  /** By verb and resource: `{ "create pods": 1 }`. */
  counts(match: CallMatch = {}): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const call of this.calls.filter((one) => fits(match, one))) {
      const key = `${call.verb} ${call.resource}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
    return counts;
  }

  forgetCalls(): void {
    this.calls.length = 0;
  }

  note(request: ApiRequest): Call {
    const { plural, subresource, namespace, name } = request.target;
    const call = {
      verb: request.verb,
      resource: subresource === "" ? plural : `${plural}/${subresource}`,
      namespace,
      name,
      user: request.user.name,
      method: request.method,
      path: request.path,
      status: 0,
    };
    this.calls.push(call);
    return call;
  }

  /** Waits, throws the planned refusal, or says what to do with the connection. */
  async apply(call: Call, signal: AbortSignal): Promise<"lose" | "drop" | undefined> {
    let end: "lose" | "drop" | undefined;
    for (const plan of this.plans) {
      if (!fits(plan.match, call)) continue;
      plan.left -= 1;
      if (plan.left <= 0) this.plans.delete(plan);
      if (plan.act === "delay") await delay(plan.ms, undefined, { signal }).catch(() => {});
      else if (plan.act === "fail" && plan.failure !== undefined) throw errorOf(plan.failure, call);
      else if (plan.act !== "fail") end = plan.act;
    }
    return end;
  }

  private plan(plan: Plan): Disposable {
    this.plans.add(plan);
    return { [Symbol.dispose]: () => void this.plans.delete(plan) };
  }
}

function fits(match: CallMatch, call: Call): boolean {
  if (match.verb === undefined ? call.verb === "watch" : match.verb !== call.verb) return false;
  if (match.resource !== undefined && match.resource !== call.resource) return false;
  if (match.namespace !== undefined && match.namespace !== call.namespace) return false;
  if (match.user !== undefined && match.user !== call.user) return false;
  if (match.name instanceof RegExp) return match.name.test(call.name);
  return match.name === undefined || match.name === call.name;
}

function errorOf(failure: Failure, call: Call): ApiError {
  const { code, retryAfterSeconds } = failure;
  const reason = failure.reason ?? reasons[code] ?? "Unknown";
  const name = call.name === "" ? "" : ` "${call.name}"`;
  const message =
    failure.message ??
    messages[code] ??
    `${call.resource}${name} is refused by the test: ${reason}`;
  return new ApiError(
    code,
    {
      reason,
      message,
      details: {
        name: call.name,
        kind: call.resource.split("/")[0],
        ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
      },
    },
    retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) },
  );
}
