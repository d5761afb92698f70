import { invalid } from "#error.ts";
import { annotationProblem, labelProblem, tenantLabel } from "#job/label.ts";
import { runtimesProblem } from "#job/runtime.ts";
import type { Duration } from "#rpc/gen/google/protobuf/duration.ts";
import type { JobSpec as WireSpec } from "#rpc/gen/hodei/v1/job.ts";
import { isTenantName } from "#tenant/identity.ts";

/** Bounds of what a client may ask for. */
export const specLimits = {
  nameCharacters: 128,
  arguments: 10_000,
  specBytes: 64 * 1024,
  stdinBytes: 512 * 1024,
  labels: 64,
  imageCharacters: 512,
  pathCharacters: 4_096,
  idempotencyKeyCharacters: 256,
  reasonCharacters: 1_024,
  subjectCharacters: 128,
  pageSize: 500,
  defaultPageSize: 50,
} as const;

const day = 24 * 3_600_000;

/** Refuses a spec that cannot be what its sender meant. Error: `invalid_argument`, beginning with the field's path. */
export function checkSpec(spec: WireSpec): void {
  checkText("spec.name", spec.name, specLimits.nameCharacters);
  checkProgram(spec);
  checkEnv(spec.env);
  if (spec.workingDirectory !== "") checkPath("spec.working_directory", spec.workingDirectory);
  if (spec.stdin.length > specLimits.stdinBytes) {
    throw invalid("spec.stdin", `has more than ${specLimits.stdinBytes} bytes`);
  }
  checkLabels(spec.labels);
  for (const key in spec.annotations) {
    const problem = annotationProblem(key);
    if (problem !== undefined) throw invalid("spec.annotations", problem);
    checkNoNul("spec.annotations", spec.annotations[key] ?? "");
  }
  if (spec.resources !== undefined) checkResources(spec.resources);
  if (spec.image !== "") checkImage(spec.image);
  checkRange("spec.priority", spec.priority, [-1_000, 1_000]);
  checkDuration("spec.queue_timeout", spec.queueTimeout, [1, 365 * day]);
  checkDuration("spec.execution_timeout", spec.executionTimeout, [1, 365 * day]);
  checkDuration("spec.cancel_grace", spec.cancelGrace, [0, day]);
  checkDuration("spec.disconnect_tolerance", spec.disconnectTolerance, [100, 7 * day]);
  checkDuration("spec.log_ttl", spec.logTtl, [1_000, 3_650 * day]);
  checkDuration("spec.hold_after_failure", spec.holdAfterFailure, [0, day]);
  checkRange("spec.reschedule", spec.reschedule, [0, 2]);
  if (spec.retry !== undefined) checkRetry(spec.retry);
  if (spec.provider !== undefined) checkProvider(spec.provider);
}

/** Refuses a text that is too long or holds control characters. */
export function checkText(field: string, text: string, maxCharacters: number): void {
  if (text.length > maxCharacters)
    throw invalid(field, `has more than ${maxCharacters} characters`);
  if (controlPattern.test(text)) throw invalid(field, "holds a control character");
}

/** How many rows a page is to have. */
export function pageSizeOf(wanted: number): number {
  if (wanted < 0 || wanted > specLimits.pageSize) {
    throw invalid("page_size", `has to be from 1 to ${specLimits.pageSize}, or 0 for the default`);
  }
  return wanted === 0 ? specLimits.defaultPageSize : wanted;
}

/** The page to go on from. What the store makes of it is the store's to check. */
export function pageTokenOf(token: string): string | undefined {
  checkText("page_token", token, 1_024);
  return token === "" ? undefined : token;
}

export function checkTenant(field: string, tenant: string): void {
  if (!isTenantName(tenant)) {
    throw invalid(field, "has to be lower-case letters, digits and inner hyphens, at most 48");
  }
}

/** Refuses a duration outside of its bounds, in milliseconds; an absent one is fine. */
export function checkDuration(
  field: string,
  duration: Duration | undefined,
  [least, most]: readonly [number, number],
): void {
  if (duration === undefined) return;
  const { seconds, nanos } = duration;
  if (Math.abs(nanos) >= 1e9 || seconds * nanos < 0) throw invalid(field, "is not a duration");
  const ms = seconds * 1000 + nanos / 1e6;
  if (!(ms >= least && ms <= most)) {
    throw invalid(field, `has to be from ${least / 1000} to ${most / 1000} seconds`);
  }
}

const controlPattern = /\p{Cc}/u;
const envPattern = /^[A-Za-z_][A-Za-z0-9_]*$/;
const providerPattern = /^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/;
const domain =
  "(?:[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?)(?:\\.[A-Za-z0-9](?:[-A-Za-z0-9]*[A-Za-z0-9])?)*";
const part = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
const imagePattern = new RegExp(
  `^(?:${domain}(?::\\d{1,5})?/)?${part}(?:/${part})*(?::[A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?(?:@sha256:[0-9a-f]{64})?$`,
);

function checkProgram(spec: WireSpec): void {
  const { command, script } = spec;
  if (command.length > 0 === (script !== undefined)) {
    throw invalid("spec.command", "exactly one of command and script has to be given");
  }
  if (command.length > specLimits.arguments) {
    throw invalid("spec.command", `has more than ${specLimits.arguments} arguments`);
  }
  if (script === undefined) {
    if (command[0] === "") throw invalid("spec.command[0]", "the program is empty");
    for (const argument of command) checkNoNul("spec.command", argument);
    return;
  }
  if (script.content === "") throw invalid("spec.script.content", "is empty");
  checkNoNul("spec.script.content", script.content);
  if (script.interpreter[0] === "") throw invalid("spec.script.interpreter[0]", "is empty");
  for (const argument of script.interpreter) checkNoNul("spec.script.interpreter", argument);
}

function checkEnv(env: WireSpec["env"]): void {
  for (const name in env) {
    if (!envPattern.test(name)) {
      throw invalid("spec.env", `${show(name)} is not the name of a variable`);
    }
    if (name.startsWith("HODEI_")) throw invalid("spec.env", `${show(name)} is reserved`);
    checkNoNul(`spec.env.${name}`, env[name] ?? "");
  }
}

function checkPath(field: string, path: string): void {
  checkNoNul(field, path);
  if (!path.startsWith("/")) throw invalid(field, "is not absolute");
  if (path.length > specLimits.pathCharacters) {
    throw invalid(field, `has more than ${specLimits.pathCharacters} characters`);
  }
}

function checkLabels(labels: WireSpec["labels"]): void {
  let count = 0;
  for (const key in labels) {
    if (++count > specLimits.labels) throw invalid("spec.labels", `more than ${specLimits.labels}`);
    // Whose name it may be is for whoever knows the caller.
    const problem = key === tenantLabel ? undefined : labelProblem(key, labels[key] ?? "");
    if (problem !== undefined) throw invalid("spec.labels", problem);
  }
}

function checkResources(resources: NonNullable<WireSpec["resources"]>): void {
  checkRange("spec.resources.cpu_millis", resources.cpuMillis, [0, 10_000_000]);
  checkRange("spec.resources.memory_bytes", resources.memoryBytes, [0, 2 ** 50]);
  checkRange("spec.resources.disk_bytes", resources.diskBytes, [0, 2 ** 50]);
  checkRange("spec.resources.gpu_count", resources.gpuCount, [0, 1_000]);
  const { gpuType } = resources;
  if (gpuType === "") return;
  if (resources.gpuCount === 0) throw invalid("spec.resources.gpu_type", "needs a gpu_count");
  const problem = annotationProblem(gpuType);
  if (problem !== undefined) throw invalid("spec.resources.gpu_type", problem);
}

function checkImage(image: string): void {
  if (image.length > specLimits.imageCharacters || !imagePattern.test(image)) {
    throw invalid("spec.image", "is not an image reference");
  }
}

function checkRetry(retry: NonNullable<WireSpec["retry"]>): void {
  checkRange("spec.retry.max_attempts", retry.maxAttempts, [0, 100]);
  checkDuration("spec.retry.initial_backoff", retry.initialBackoff, [0, day]);
  checkDuration("spec.retry.max_backoff", retry.maxBackoff, [0, day]);
  const { multiplier } = retry;
  if (multiplier !== 0 && !(multiplier >= 1 && multiplier <= 10)) {
    throw invalid("spec.retry.multiplier", "has to be from 1 to 10");
  }
  if (retry.retryableExitCodes.length > 255) {
    throw invalid("spec.retry.retryable_exit_codes", "more than 255");
  }
  for (const code of retry.retryableExitCodes) {
    checkRange("spec.retry.retryable_exit_codes", code, [1, 255]);
  }
}

function checkProvider(provider: NonNullable<WireSpec["provider"]>): void {
  if (provider.name === "") {
    if (provider.strict) throw invalid("spec.provider.name", "is needed when strict");
  } else if (!providerPattern.test(provider.name)) {
    throw invalid("spec.provider.name", "is not the name of a provider");
  }
  checkText("spec.provider.strategy", provider.strategy, 64);
  checkText("spec.provider.preferred_region", provider.preferredRegion, 64);
  if (provider.allowedRegions.length > 32) {
    throw invalid("spec.provider.allowed_regions", "has more than 32 entries");
  }
  for (const region of provider.allowedRegions) {
    if (region === "") throw invalid("spec.provider.allowed_regions", "has an empty entry");
    checkText("spec.provider.allowed_regions", region, 64);
  }
  if (!["", "amd64", "arm64"].includes(provider.architecture)) {
    throw invalid("spec.provider.architecture", "has to be amd64 or arm64");
  }
  const problem = runtimesProblem(provider.runtimes);
  if (problem !== undefined) throw invalid("spec.provider.runtimes", problem);
  for (const field of ["requiredLabels", "preferredLabels"] as const) {
    const path = `spec.provider.${field === "requiredLabels" ? "required" : "preferred"}_labels`;
    const pairs = Object.entries(provider[field]);
    if (pairs.length > 32) throw invalid(path, "has more than 32 entries");
    for (const text of pairs.flat()) checkText(path, text, 128);
  }
}

function checkRange(field: string, value: number, [least, most]: readonly [number, number]): void {
  if (!(value >= least && value <= most)) {
    throw invalid(field, `has to be from ${least} to ${most}`);
  }
}

function checkNoNul(field: string, text: string): void {
  if (text.includes("\0")) throw invalid(field, "holds a NUL");
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 80));
}
