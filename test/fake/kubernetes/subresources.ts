import { bodyOf, readStrictly } from "./body.ts";
import { evictPod } from "./controllers-nodes.ts";
import { isJson, type Json } from "./field-set.ts";
import type { LogQuery } from "./kubelet-log.ts";
import { timestamp, type Objects, type Pod } from "./objects.ts";
import { isTrue, type ApiRequest } from "./request.ts";
import { matchesSelector } from "./selectors.ts";
import { ApiError, badRequest, cause, conflict, notFound } from "./status.ts";
import type { Tokens } from "./tokens.ts";
import { getObject, type Answer } from "./verbs.ts";

/** Whoever runs the containers answers this; undefined if the container never ran. */
export type ReadLog = (
  where: { name: string; namespace: string },
  container: string,
  query: LogQuery & { readonly previous?: boolean },
  signal?: AbortSignal,
) => AsyncIterable<Buffer> | undefined;

export function createToken(objects: Objects, tokens: Tokens, request: ApiRequest): Answer {
  const body = bodyOf(request, "TokenRequest");
  const { value } = readStrictly(body, "AuthenticationV1TokenRequest", {
    request,
    refuse: (why) =>
      badRequest(`TokenRequest in version "v1" cannot be handled as a TokenRequest: ${why}`),
  });
  const spec: Json = isJson(value["spec"]) ? value["spec"] : {};
  const account = getObject(objects, "serviceaccounts", request);
  const { name, namespace = "" } = account.metadata;
  const expirationSeconds = Number(spec["expirationSeconds"] ?? 3600);
  if (expirationSeconds < 600) {
    throw tokenProblem(
      cause.invalid(
        "spec.expirationSeconds",
        expirationSeconds,
        "may not specify a duration less than 10 minutes",
      ),
    );
  }
  const audiences = Array.isArray(spec["audiences"]) ? spec["audiences"].map(String) : [];
  const pod = boundPod(objects, spec["boundObjectRef"], namespace);
  const token = tokens.issue({
    namespace,
    serviceAccount: name,
    audiences,
    expirationSeconds,
    pod,
  });
  return {
    code: 201,
    body: {
      kind: "TokenRequest",
      apiVersion: "authentication.k8s.io/v1",
      metadata: { name, namespace, creationTimestamp: timestamp() },
      spec: {
        audiences: audiences.length === 0 ? ["https://kubernetes.default.svc"] : audiences,
        expirationSeconds,
        boundObjectRef: spec["boundObjectRef"] ?? null,
      },
      status: { token, expirationTimestamp: timestamp(expirationSeconds * 1000) },
    },
  };
}

function tokenProblem(problem: ReturnType<typeof cause.invalid>): ApiError {
  return new ApiError(422, {
    reason: "Invalid",
    message: `TokenRequest.authentication.k8s.io "" is invalid: ${problem.field}: ${problem.message}`,
    details: { group: "authentication.k8s.io", kind: "TokenRequest", causes: [problem] },
  });
}

function boundPod(
  objects: Objects,
  reference: unknown,
  namespace: string,
): { name: string; uid: string } | undefined {
  if (!isJson(reference) || reference["kind"] !== "Pod") return undefined;
  const name = String(reference["name"]);
  const pod = objects.get("pods", name, namespace);
  if (pod === undefined) throw notFound("pods", name);
  const { uid } = pod.metadata;
  if (reference["uid"] !== undefined && reference["uid"] !== uid) {
    throw conflict(
      "pods",
      name,
      `the UID in the bound object reference (${JSON.stringify(reference["uid"])}) does not match the UID in record. The object might have been deleted and then recreated`,
    );
  }
  return { name, uid };
}

export function createEviction(objects: Objects, request: ApiRequest): Answer {
  const body = bodyOf(request, "Eviction");
  const pod = getObject(objects, "pods", request) as Pod;
  const options = isJson(body["deleteOptions"]) ? body["deleteOptions"] : {};
  const budget = objects
    .list("poddisruptionbudgets", pod.metadata.namespace)
    .find(({ spec, status }) => {
      const selector = isJson(spec) && isJson(spec["selector"]) ? spec["selector"] : undefined;
      const allowed = isJson(status) ? Number(status["disruptionsAllowed"] ?? 0) : 0;
      return (
        selector !== undefined &&
        matchesSelector(selector, pod.metadata.labels ?? {}) &&
        allowed <= 0
      );
    });
  if (budget !== undefined) {
    const message = `The disruption budget ${budget.metadata.name} needs 1 healthy pods and has 1 currently`;
    throw new ApiError(429, {
      reason: "TooManyRequests",
      message: "Cannot evict pod as it would violate the pod's disruption budget.",
      details: { causes: [{ reason: "DisruptionBudget", message }] },
    });
  }
  if (!request.isDryRun) {
    const grace = options["gracePeriodSeconds"];
    evictPod(objects, pod, typeof grace === "number" ? grace : undefined);
  }
  return {
    code: 201,
    body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 },
  };
}

export function bindPod(objects: Objects, request: ApiRequest): Answer {
  const body = bodyOf(request, "Binding");
  const pod = getObject(objects, "pods", request) as Pod;
  const { name, namespace } = pod.metadata;
  if ((pod.spec?.nodeName ?? "") !== "")
    throw conflict("pods", name, `pod ${name} is already assigned to node "${pod.spec?.nodeName}"`);
  const target = isJson(body["target"]) ? body["target"] : {};
  objects.mutate("pods", { name, namespace }, (one) => {
    if (one.spec !== undefined) one.spec.nodeName = String(target["name"]);
    one.status = {
      ...one.status,
      conditions: [
        ...(one.status?.conditions ?? []).filter(({ type }) => type !== "PodScheduled"),
        { type: "PodScheduled", status: "True", lastTransitionTime: timestamp() },
      ],
    };
  });
  return {
    code: 201,
    body: { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", code: 201 },
  };
}

/** The log of one container, or the refusal that a real server gives. */
export function openLog(
  objects: Objects,
  request: ApiRequest,
  readLog: ReadLog | undefined,
): AsyncIterable<Buffer> | undefined {
  const pod = getObject(objects, "pods", request) as Pod;
  const { name, namespace = "" } = pod.metadata;
  const { query } = request;
  const names = (pod.spec?.containers ?? []).map((one) => one.name);
  const all = [...names, ...(pod.spec?.initContainers ?? []).map((one) => one.name)];
  const container = query.get("container") ?? (names.length === 1 ? (names[0] ?? "") : "");
  if (container === "") {
    throw badRequest(
      `a container name must be specified for pod ${name}, choose one of: [${names.join(" ")}]`,
    );
  }
  if (!all.includes(container))
    throw badRequest(`container ${container} is not valid for pod ${name}`);
  const nodeName = pod.spec?.nodeName ?? "";
  // A real server answers nothing at all.
  if (nodeName === "") return undefined;
  const number = (key: string): number | undefined =>
    query.has(key) ? Number(query.get(key)) : undefined;
  const [tailLines, sinceSeconds, limitBytes] = [
    number("tailLines"),
    number("sinceSeconds"),
    number("limitBytes"),
  ];
  const log = readLog?.(
    { name, namespace },
    container,
    {
      timestamps: isTrue(query.get("timestamps")),
      follow: isTrue(query.get("follow")),
      previous: isTrue(query.get("previous")),
      ...(tailLines === undefined ? {} : { tailLines }),
      ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
      ...(limitBytes === undefined ? {} : { limitBytes }),
      ...(query.has("sinceTime") ? { sinceTime: query.get("sinceTime") ?? "" } : {}),
    },
    request.signal,
  );
  if (log === undefined) throw waiting(pod, container, reasonOf(pod, container));
  return log;
}

function reasonOf(pod: Pod, container: string): string {
  const statuses = [
    ...(pod.status?.containerStatuses ?? []),
    ...(pod.status?.initContainerStatuses ?? []),
  ];
  return (
    statuses.find(({ name }) => name === container)?.state?.waiting?.reason ?? "ContainerCreating"
  );
}

function waiting(pod: Pod, container: string, reason: string): ApiError {
  const { name } = pod.metadata;
  const verb = /Image|Err/.test(reason) ? "trying and failing to pull image" : reason;
  return badRequest(`container "${container}" in pod "${name}" is waiting to start: ${verb}`);
}
