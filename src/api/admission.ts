import { hash } from "node:crypto";
import { HodeiError, invalid } from "#error.ts";
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
  readonly idempotencyTtlMs: number;
}

/** The job that a request asks for: checked, every default filled in. Errors: `invalid_argument`, `permission_denied`. */
export function admitJob(
  request: SubmitJobRequest,
  call: Pick<Call<Caller>, "caller" | "correlationId">,
  options: AdmissionOptions & { readonly now: number },
): NewJob {
  const { caller } = call;
  const tenant = tenantFor(caller, request.tenant);
  if (request.spec === undefined) throw invalid("spec", "is missing");
  checkSpec(request.spec);
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

/** The tenant that a call is for: the caller's own, or the one that an admin names (DESIGN G16). */
export function tenantFor(caller: Caller, named: string): string {
  if (named === "" || named === caller.tenant) return caller.tenant;
  if (caller.role !== "admin") {
    throw new HodeiError("permission_denied", "tenant: only an admin may name another tenant");
  }
  checkTenant("tenant", named);
  return named;
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
