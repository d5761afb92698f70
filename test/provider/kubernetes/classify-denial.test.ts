import { expect, test } from "vitest";
import { denialOf } from "#provider/kubernetes/classify-denial.ts";
import { errorOf, type KubeError } from "#provider/kubernetes/kube-error.ts";
import { readCalls, readRecording } from "./replay.ts";

const calls = [
  ...readCalls("denied"),
  ...readCalls("server-side-apply"),
  ...readCalls("rbac-and-tokens"),
];

function refused(label: string): KubeError {
  const call = calls.find((other) => other.label === label);
  if (call === undefined) throw new Error(`no recorded call is named ${label}`);
  return errorOf({
    call: `${call.method} ${call.path}`,
    status: call.status,
    body: JSON.stringify(call.response),
  });
}

test.for([
  ["quota requests", "quota", "quota", "requested: requests.cpu=1500m, used: requests.cpu=0"],
  ["quota pods", "quota", "quota", "quota q is used up"],
  ["limit range max", "start_failed", "policy", "maximum cpu usage per Container is 2"],
  ["pod security restricted", "start_failed", "policy", "allowPrivilegeEscalation != false"],
  ["rbac create pods", "start_failed", "provider", "may not create pods in namespace rec"],
  ["rbac create namespace", "start_failed", "provider", "create namespaces in the whole cluster"],
  ["missing namespace", "start_failed", "provider", "namespace nope is missing"],
  ["create in terminating namespace", "start_failed", "provider", "is being deleted"],
  ["invalid name", "start_failed", "system", "metadata.name"],
  ["invalid label", "start_failed", "user", "workload-type"],
  ["invalid env name", "start_failed", "user", "A=B"],
  ["requests above limits", "start_failed", "user", "less than or equal to cpu limit"],
  ["unknown field, strict", "start_failed", "system", 'unknown field "spec.restartpolicy"'],
  [
    "escalation: role with rights that the creator lacks",
    "start_failed",
    "provider",
    "may not grant rights",
  ],
] as const)("%s is told as %s by %s", ([label, cause, blame, words]) => {
  const failure = denialOf(refused(label));
  expect(failure).toMatchObject({ stage: "creating", cause, blame, userCodeMayHaveRun: false });
  expect(failure.message).toContain(words);
});

test("a missing ServiceAccount is named", () => {
  const first = readRecording("pod-missing-serviceaccount")[0];
  const error = errorOf({
    call: "POST /api/v1/namespaces/rec/pods",
    status: 403,
    body: JSON.stringify(first?.object),
  });
  expect(denialOf(error)).toMatchObject({
    blame: "provider",
    message: expect.stringContaining("ServiceAccount nope is missing in namespace rec"),
    evidence: { namespace: "rec", service_account: "nope" },
  });
});

test("a missing right names verb, resource and namespace", () => {
  expect(denialOf(refused("rbac create pods")).evidence).toMatchObject({
    verb: "create",
    resource: "pods",
    namespace: "rec",
  });
});

test("a quota names what was asked for, used and allowed", () => {
  expect(denialOf(refused("quota pods")).evidence).toMatchObject({
    quota: "q",
    requested: "pods=1",
    used: "pods=1",
    limited: "pods=1",
  });
});

test.for([
  [400, 'admission webhook "v.example.com" denied the request: no', "policy"],
  [
    422,
    "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request",
    "policy",
  ],
  [401, "Unauthorized", "provider"],
  [429, "too many requests", "provider"],
  [500, "etcdserver: request timed out", "provider"],
  [0, "connect ECONNREFUSED", "provider"],
] as const)("%i %s is blamed on %s", ([status, message, blame]) => {
  const body = JSON.stringify({ kind: "Status", message });
  const failure = denialOf(errorOf({ call: "POST /pods", status, body }));
  expect(failure.blame).toBe(blame);
  expect(failure.message).toContain(message);
});
