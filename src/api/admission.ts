import { hash } from "node:crypto";
import { HodeiError, invalid } from "#error.ts";
import { tenantLabel } from "#job/label.ts";
import type { Call } from "#rpc/edge.ts";
import { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import type { SubmitJobRequest } from "#rpc/gen/hodei/v1/job_service.ts";
import { type SpecDefaults, specFromWire, specToWire } from "#rpc/spec.ts";
import type { NewJob } from "#store/store.ts";
import { classKeyOf, classOf } from "#worker/class.ts";
import type { Caller } from "./authenticate.ts";
import { checkSpec, checkTenant, checkText, specLimits } from "./validate.ts";

export interface AdmissionOptions {
  readonly defaults: SpecDefaults;
  readonly maxQueuedJobsPerTenant: number;
  /** What jobs may name. */
  readonly strategyNames: readonly string[];
  readonly idempotencyTtlMs: number;
}

/** The job that a request asks for: checked, every default filled in. Errors: `invalid_argument`, `permission_denied`. */
export function admitJob(
  request: SubmitJobRequest,
  call: Pick<Call<Caller>, "caller" | "correlationId">,
  options: AdmissionOptions & { readonly now: number },
): NewJob {
  const { caller } = call;
  if (request.spec === undefined) throw invalid("spec", "is missing");
  const tenant = tenantOf(caller, request.tenant, request.spec.labels[tenantLabel]);
  checkSpec(request.spec);
  checkStrategy(request.spec.provider?.strategy ?? "", options.strategyNames);
  checkText("idempotency_key", request.idempotencyKey, specLimits.idempotencyKeyCharacters);
  const spec = specFromWire(request.spec, options.defaults);
  const bytes = encode(specToWire(spec));
  if (bytes.length - spec.stdin.length > specLimits.specBytes) {
    throw invalid("spec", `has more than ${specLimits.specBytes} bytes without stdin`);
  }
  const { now } = options;
  return {
    tenant,
    spec: bytes,
    name: spec.name,
    labels: spec.labels,
    classKey: classKeyOf(classOf(spec)),
    priority: spec.priority,
    deadline: now + spec.queueTimeoutMs,
    correlationId: call.correlationId,
    actor: caller.subject,
    idempotency:
      request.idempotencyKey === ""
        ? undefined
        : {
            key: request.idempotencyKey,
            specHash: hash("sha256", bytes, "buffer"),
            expiresAt: now + options.idempotencyTtlMs,
          },
    maxQueued: options.maxQueuedJobsPerTenant,
  };
}

function checkStrategy(name: string, known: readonly string[]): void {
  if (name === "" || known.includes(name)) return;
  throw invalid("spec.provider.strategy", `has to be one of ${known.join(", ")}`);
}

/** The tenant that a call is for: the caller's own, or the one that an admin names (DESIGN G16). */
export function tenantFor(caller: Caller, named: string): string {
  if (named === "" || named === caller.tenant) return caller.tenant;
  if (caller.role !== "admin") {
    throw new HodeiError("permission_denied", "tenant: only an admin may name another tenant");
  }
  checkTenant("tenant", named);
  return named;
}

/** A label may say the same as the field, and for an admin stand in its place; it decides nothing for anybody else. */
function tenantOf(caller: Caller, named: string, label: string | undefined): string {
  const tenant = tenantFor(caller, named === "" ? (label ?? "") : named);
  if (label === undefined || label === tenant) return tenant;
  throw invalid("spec.labels", `"${tenantLabel}" does not name the tenant of the job, ${tenant}`);
}

/** The same bytes for specs that say the same, whatever the order of their maps. */
function encode(spec: WireSpec): Uint8Array {
  const { env, labels, annotations } = spec;
  const sorted = {
    ...spec,
    env: sort(env),
    labels: sort(labels),
    annotations: sort(annotations),
  };
  return WireSpec.encode(sorted).finish();
}

function sort(map: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const names = Object.keys(map);
  if (names.length < 2) return map;
  return Object.fromEntries(names.toSorted().map((name) => [name, map[name] ?? ""]));
}
