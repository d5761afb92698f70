import type { Blame, Cause, Failure } from "#job/failure.ts";
import { words } from "./classify-pod.ts";
import { describeDenial, type KubeError } from "./kube-error.ts";

/** Why the API refused to create something of a worker's, with its own words. Pure. */
export function denialOf(error: KubeError): Failure {
  const message = error.serverMessage;
  for (const row of rows) {
    if (!row.isIt(error)) continue;
    const evidence = definedOf({
      status: String(error.status),
      reason: error.reason,
      call: error.call,
      message: words(message),
      ...row.evidence?.(error),
    });
    return {
      stage: "creating",
      cause: row.cause ?? "start_failed",
      blame: typeof row.blame === "function" ? row.blame(error) : row.blame,
      message: `${row.summary(error)}: ${words(message)}`,
      userCodeMayHaveRun: false,
      evidence,
    };
  }
  throw new Error("the last row fits every error");
}

interface Row {
  readonly isIt: (error: KubeError) => boolean;
  readonly cause?: Cause;
  readonly blame: Blame | ((error: KubeError) => Blame);
  readonly summary: (error: KubeError) => string;
  readonly evidence?: (error: KubeError) => Readonly<Record<string, string | undefined>>;
}

const quota = /exceeded quota: ([^,]+), requested: (.+), used: (.+), limited: (.+)$/s;
const account = /error looking up service account ([^/]+)\/([^:]+): /;
const webhook = /admission webhook "([^"]+)" denied the request/;
const policy = /ValidatingAdmissionPolicy '([^']+)'/;

/** The first row that fits decides. Quota, limits, security and rights are all 403: only the words tell them apart. */
const rows: readonly Row[] = [
  {
    isIt: ({ serverMessage }) => quota.test(serverMessage),
    cause: "quota",
    blame: "quota",
    summary: ({ serverMessage }) => `quota ${quota.exec(serverMessage)?.[1]} is used up`,
    evidence: ({ serverMessage }) => {
      const [, name, requested, used, limited] = quota.exec(serverMessage) ?? [];
      return { quota: name, requested, used, limited };
    },
  },
  {
    isIt: ({ serverMessage }) => /failed quota: /.test(serverMessage),
    cause: "quota",
    blame: "provider",
    summary: () => "a quota wants requests and limits that the pod does not name",
  },
  {
    isIt: ({ status, serverMessage }) =>
      status === 403 && /(maximum|minimum) \S+ usage per |ratio per /.test(serverMessage),
    blame: "policy",
    summary: () => "the namespace's LimitRange does not allow such a pod",
  },
  {
    isIt: ({ serverMessage }) => /violates PodSecurity/.test(serverMessage),
    blame: "policy",
    summary: () => "Pod Security does not allow such a pod",
    evidence: ({ serverMessage }) => ({
      level: /violates PodSecurity "([^"]+)"/.exec(serverMessage)?.[1],
    }),
  },
  {
    isIt: ({ serverMessage }) => account.test(serverMessage),
    blame: "provider",
    summary: ({ serverMessage }) => {
      const [, namespace, name] = account.exec(serverMessage) ?? [];
      return `ServiceAccount ${name} is missing in namespace ${namespace}`;
    },
    evidence: ({ serverMessage }) => {
      const [, namespace, name] = account.exec(serverMessage) ?? [];
      return { namespace, service_account: name };
    },
  },
  {
    isIt: (error) => error.isNamespaceTerminating,
    blame: "provider",
    summary: () => "the namespace is being deleted",
  },
  {
    isIt: ({ denial }) => denial !== undefined,
    blame: "provider",
    summary: ({ denial }) =>
      denial === undefined ? "" : `the server may not ${describeDenial(denial)}`,
    evidence: ({ denial }) => ({
      verb: denial?.verb,
      resource: denial?.resource,
      api_group: denial?.apiGroup,
      namespace: denial?.namespace,
    }),
  },
  {
    isIt: (error) => error.isEscalation,
    blame: "provider",
    summary: () => "the server may not grant rights that it does not hold",
  },
  {
    isIt: ({ serverMessage }) => webhook.test(serverMessage),
    blame: "policy",
    summary: ({ serverMessage }) =>
      `admission webhook ${webhook.exec(serverMessage)?.[1]} refused the pod`,
  },
  {
    isIt: ({ serverMessage }) => policy.test(serverMessage),
    blame: "policy",
    summary: ({ serverMessage }) =>
      `admission policy ${policy.exec(serverMessage)?.[1]} refused the pod`,
  },
  {
    isIt: ({ serverMessage }) => /no PriorityClass with name/.test(serverMessage),
    blame: "provider",
    summary: () => "the PriorityClass is missing",
  },
  {
    isIt: ({ serverMessage }) => /RuntimeClass .* not found/.test(serverMessage),
    blame: "provider",
    summary: () => "the RuntimeClass is missing",
  },
  {
    isIt: ({ status }) => status === 403,
    blame: "policy",
    summary: () => "the cluster does not allow such a pod",
  },
  {
    isIt: ({ status, serverMessage, details }) =>
      status === 404 && (details.kind === "namespaces" || serverMessage.startsWith('namespaces "')),
    blame: "provider",
    summary: ({ details }) => `namespace ${details.name ?? ""} is missing`.replace("  ", " "),
    evidence: ({ details }) => ({ namespace: details.name }),
  },
  {
    isIt: ({ status }) => status === 401,
    blame: "provider",
    summary: () => "the cluster does not accept the server's credentials",
  },
  {
    isIt: ({ status }) => status === 422 || status === 400 || status === 413,
    blame: ({ details }) => (isOfTheJob(details.causes ?? []) ? "user" : "system"),
    summary: ({ status }) =>
      status === 413 ? "the pod is too large" : "the cluster refuses the pod as invalid",
    evidence: ({ details }) => ({
      fields: details.causes?.flatMap(({ field }) => field ?? []).join(", "),
    }),
  },
  {
    isIt: ({ status }) => status === 409,
    blame: "provider",
    summary: () => "something else has the pod's name",
  },
  {
    isIt: ({ status }) => status === 429,
    blame: "provider",
    summary: () => "the cluster has too much to do",
  },
  {
    isIt: ({ status }) => status === 0,
    blame: "provider",
    summary: () => "the cluster does not answer",
  },
  {
    isIt: () => true,
    blame: "provider",
    summary: ({ status }) => `the cluster failed with ${status}`,
  },
];

/** Whether every field that was refused carries what a job asked for. */
function isOfTheJob(causes: readonly { readonly field?: string }[]): boolean {
  const own = /^metadata\.(labels|annotations)|\.resources|\.env\[/;
  return causes.length > 0 && causes.every(({ field }) => own.test(field ?? ""));
}

function definedOf(
  fields: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([key, value]) =>
      value === undefined || value === "" ? [] : [[key, value]],
    ),
  );
}
