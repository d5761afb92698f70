/** What a denied call lacks, where the API server says so. */
export interface Denial {
  readonly verb: string;
  /** With the subresource, `pods/log`. */
  readonly resource: string;
  /** Empty: the core group. */
  readonly apiGroup: string;
  /** Undefined: the right is wanted in the whole cluster. */
  readonly namespace: string | undefined;
}

/** One of the reasons that a refused object was refused for. */
export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

/** What `Status.details` holds. */
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

export interface KubeErrorFields {
  /** 0: no answer came. */
  readonly status: number;
  readonly reason?: string;
  /** The API server's own words. */
  readonly message: string;
  readonly details?: StatusDetails;
  readonly retryAfterMs?: number | undefined;
  readonly isOutcomeUnknown?: boolean;
  /** What was called, `POST /api/v1/namespaces/a/pods`. */
  readonly call: string;
  readonly cause?: unknown;
}

/** A call that the API server refused, or never answered. */
export class KubeError extends Error {
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** `Forbidden`, `NotFound`, `AlreadyExists`, …; empty where the server named none. */
  readonly reason: string;
  readonly details: StatusDetails;
  /** The API server's own words, without what was called. */
  readonly serverMessage: string;
  /** How long the server asks to wait; undefined when it did not say. */
  readonly retryAfterMs: number | undefined;
  /** The call may have been carried out. */
  readonly isOutcomeUnknown: boolean;
  readonly call: string;
  /** Which right is missing; undefined when the refusal is no missing right. */
  readonly denial: Denial | undefined;

  constructor(fields: KubeErrorFields) {
    super(
      `${fields.call}: ${fields.message}`,
      fields.cause === undefined ? {} : { cause: fields.cause },
    );
    this.name = "KubeError";
    this.status = fields.status;
    this.reason = fields.reason ?? "";
    this.details = fields.details ?? {};
    this.serverMessage = fields.message;
    this.retryAfterMs = fields.retryAfterMs;
    this.isOutcomeUnknown = fields.isOutcomeUnknown ?? false;
    this.call = fields.call;
    this.denial = fields.status === 403 ? denialIn(fields.message) : undefined;
  }

  /** Whether one of the causes has this reason. */
  hasCause(reason: string): boolean {
    return this.details.causes?.some((cause) => cause.reason === reason) ?? false;
  }

  /** The namespace that was written to is being deleted. */
  get isNamespaceTerminating(): boolean {
    return (
      this.hasCause("NamespaceTerminating") ||
      (this.status === 403 && this.serverMessage.includes("because it is being terminated"))
    );
  }

  /** A Role or binding would give rights that the caller does not hold. */
  get isEscalation(): boolean {
    return (
      this.status === 403 &&
      this.serverMessage.includes("is attempting to grant RBAC permissions not currently held")
    );
  }
}

/** Whether `error` is the API server's answer with this status. */
export function isKubeError(error: unknown, status: number): error is KubeError {
  return error instanceof KubeError && error.status === status;
}

/** What is missing, as `kubectl auth can-i` would be asked for it. */
export function describeDenial({ verb, resource, apiGroup, namespace }: Denial): string {
  const kind = apiGroup === "" ? resource : `${resource}.${apiGroup}`;
  return `${verb} ${kind} ${namespace === undefined ? "in the whole cluster" : `in namespace ${namespace}`}`;
}

const denied =
  /cannot (\S+) resource "([^"]+)" in API group "([^"]*)" (?:in the namespace "([^"]+)"|at the cluster scope)/;

function denialIn(message: string): Denial | undefined {
  const match = denied.exec(message);
  if (match === null) return undefined;
  const [, verb = "", resource = "", apiGroup = "", namespace] = match;
  return { verb, resource, apiGroup, namespace };
}

/** The error in a response's body; not every server answers with a `Status`. */
export function errorOf(answer: {
  readonly call: string;
  readonly status: number;
  readonly body: string;
  readonly retryAfter?: string | undefined;
  readonly isOutcomeUnknown?: boolean;
}): KubeError {
  const status = parseStatus(answer.body);
  const retryAfterMs = retryAfterOf(answer.retryAfter, status?.details?.retryAfterSeconds);
  return new KubeError({
    call: answer.call,
    status: answer.status,
    reason: status?.reason ?? "",
    message: status?.message ?? `HTTP ${answer.status}${snippet(answer.body)}`,
    details: status?.details ?? {},
    retryAfterMs,
    isOutcomeUnknown: answer.isOutcomeUnknown ?? false,
  });
}

interface Status {
  readonly kind: "Status";
  readonly message?: string;
  readonly reason?: string;
  readonly details?: StatusDetails;
}

function parseStatus(body: string): Status | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return isStatus(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isStatus(value: unknown): value is Status {
  return typeof value === "object" && value !== null && "kind" in value && value.kind === "Status";
}

function snippet(body: string): string {
  const text = body.trim().replaceAll(/\s+/g, " ").slice(0, 200);
  return text === "" ? "" : `: ${text}`;
}

function retryAfterOf(header: string | undefined, seconds: number | undefined): number | undefined {
  const wanted = header === undefined || header === "" ? seconds : Number(header);
  return wanted === undefined || !Number.isFinite(wanted) || wanted < 0
    ? undefined
    : wanted * 1_000;
}
