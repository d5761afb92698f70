import { HodeiError } from "#error.ts";
import type { Connection } from "./connection.ts";
import type { KubernetesObject } from "./infrastructure-parts.ts";
import { type Denial, describeDenial, isKubeError, KubeError } from "./kube-error.ts";

/** Annotation of the namespaces that a server made: only these may be deleted. */
export const createdBy = "hodei.io/created-by";
/** Owner of the fields that the server applies. */
export const fieldManager = "hodei-jobs";

/** Why a namespace could not be made ready. */
export class InfrastructureError extends HodeiError {
  readonly kind: "terminating" | "forbidden" | "escalation" | "refused" | "unreachable";
  /** Whether the same may succeed later without anybody's help. */
  readonly canPass: boolean;
  /** The right that is missing. */
  readonly denial: Denial | undefined;

  constructor(fields: {
    readonly kind: InfrastructureError["kind"];
    readonly message: string;
    readonly hint: string;
    readonly denial?: Denial | undefined;
    readonly cause?: unknown;
  }) {
    const canPass = fields.kind === "terminating" || fields.kind === "unreachable";
    super(canPass ? "unavailable" : "failed_precondition", fields.message, {
      cause: fields.cause,
      hint: fields.hint,
    });
    this.name = "InfrastructureError";
    this.kind = fields.kind;
    this.canPass = canPass;
    this.denial = fields.denial;
  }
}

/** What became of one object. */
export interface Applied {
  readonly object: KubernetesObject;
  /** `prepared`: there, and we may not change it; `foreign`: there, with fields that somebody else wants otherwise. */
  readonly outcome: "applied" | "prepared" | "foreign";
  /** The right that is missing. */
  readonly missing: string;
  /** Fields that somebody else wants otherwise, `.metadata.labels.a`. */
  readonly conflicts: readonly string[];
  readonly resourceVersion: string;
}

export interface ApplyOptions {
  readonly connection: Connection;
  readonly signal?: AbortSignal | undefined;
  /** Whether fields are taken from those who had them. */
  readonly force: boolean;
}

interface Stored {
  readonly metadata: {
    readonly resourceVersion?: string;
    readonly deletionTimestamp?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly status?: { readonly phase?: string };
}

const maxTries = 5;

/** Applies one object; nothing is written where it is as it should be. Rejects with an `InfrastructureError`. */
export async function applyObject(
  object: KubernetesObject,
  options: ApplyOptions,
): Promise<Applied> {
  const { connection, signal, force } = options;
  for (let tries = 1; ; tries++) {
    try {
      const stored = await connection.request<Stored>({
        method: "PATCH",
        path: pathOf(object),
        query: { fieldManager, force: String(force) },
        contentType: "application/apply-patch+yaml",
        body: object,
        ...(signal !== undefined && { signal }),
      });
      return applied(object, { outcome: "applied", stored });
    } catch (error) {
      if (!(error instanceof KubeError)) throw error;
      if (error.status === 409) {
        if (error.hasCause("FieldManagerConflict")) return foreign(object, error);
        // Somebody wrote it between the server's reading and writing.
        if (tries < maxTries) continue;
      }
      if (error.status === 403 && !error.isNamespaceTerminating) {
        const stored = await findObject(object, options);
        if (typeof stored === "object") {
          const missing =
            error.denial === undefined ? error.serverMessage : describeDenial(error.denial);
          return applied(object, { outcome: "prepared", missing, stored });
        }
      }
      throw explain(object, error);
    }
  }
}

function applied(
  object: KubernetesObject,
  how: {
    readonly outcome: Applied["outcome"];
    readonly missing?: string;
    readonly conflicts?: readonly string[];
    readonly stored?: Stored;
  },
): Applied {
  return {
    object,
    outcome: how.outcome,
    missing: how.missing ?? "",
    conflicts: how.conflicts ?? [],
    resourceVersion: how.stored?.metadata.resourceVersion ?? "",
  };
}

function foreign(object: KubernetesObject, error: KubeError): Applied {
  const conflicts = error.details.causes?.flatMap(({ field }) => field ?? []) ?? [];
  return applied(object, { outcome: "foreign", conflicts });
}

/** What is stored; `missing` and `forbidden` where that cannot be told. */
async function findObject(
  object: KubernetesObject,
  { connection, signal }: Omit<ApplyOptions, "force">,
): Promise<Stored | "missing" | "forbidden"> {
  try {
    return await connection.request<Stored>({
      method: "GET",
      path: pathOf(object),
      ...(signal !== undefined && { signal }),
    });
  } catch (error) {
    if (isKubeError(error, 404)) return "missing";
    if (isKubeError(error, 403)) return "forbidden";
    throw error instanceof KubeError ? explain(object, error) : error;
  }
}

/** Whose the namespace is; where that may not be read, it counts as somebody else's. Rejects when it is being deleted. */
export async function ownerOfNamespace(
  name: string,
  call: Omit<ApplyOptions, "force">,
): Promise<"nobody" | "us" | "others"> {
  const found = await findObject({ apiVersion: "v1", kind: "Namespace", metadata: { name } }, call);
  if (found === "missing") return "nobody";
  if (found === "forbidden") return "others";
  // Applying to it would be answered with 200, as if nothing were.
  if (found.metadata.deletionTimestamp !== undefined || found.status?.phase === "Terminating") {
    throw terminating(name);
  }
  return found.metadata.annotations?.[createdBy] === undefined ? "others" : "us";
}

function terminating(name: string, cause?: unknown): InfrastructureError {
  return new InfrastructureError({
    kind: "terminating",
    message: `namespace ${name} is being deleted`,
    hint: `It is made anew once it is gone; where it stays, \`kubectl get namespace ${name} -o yaml\` says what holds it.`,
    cause,
  });
}

/** What an operator can make of the API server's refusal. */
function explain(object: KubernetesObject, error: KubeError): InfrastructureError {
  const { name, namespace } = object.metadata;
  const place = namespace === undefined ? "" : ` in namespace ${namespace}`;
  const what = `cannot set up ${object.kind} ${name}${place}`;
  if (error.isNamespaceTerminating) return terminating(namespace ?? name, error);
  if (error.isEscalation) {
    return new InfrastructureError({
      kind: "escalation",
      message: `${what}: it gives rights that the control plane does not have itself: ${wanted(error)}`,
      hint: "Kubernetes lets nobody give rights that they lack: apply the ClusterRole that `hodei manifests` prints, or make the namespace with it.",
      cause: error,
    });
  }
  if (error.status === 403) {
    const { denial } = error;
    const missing =
      denial === undefined ? error.serverMessage : `may not ${describeDenial(denial)}`;
    return new InfrastructureError({
      kind: "forbidden",
      message: `${what}: ${missing}`,
      hint: "Apply what `hodei manifests` prints as a cluster admin, or set HODEI_K8S_CREATE_INFRASTRUCTURE=0 and prepare the namespace.",
      denial,
      cause: error,
    });
  }
  if (error.status === 0 || error.status === 429 || error.status >= 500) {
    return new InfrastructureError({
      kind: "unreachable",
      message: `${what}: ${error.serverMessage}`,
      hint: "The API server could not be reached, or was not ready; it is tried again.",
      cause: error,
    });
  }
  return new InfrastructureError({
    kind: "refused",
    message: `${what}: ${error.serverMessage}`,
    hint: refusalHint(object, error),
    cause: error,
  });
}

function refusalHint({ kind, metadata }: KubernetesObject, error: KubeError): string {
  if (error.status === 404)
    return `The namespace ${metadata.namespace ?? metadata.name} is missing.`;
  if (kind === "RoleBinding" && error.serverMessage.includes("roleRef")) {
    return `A binding's role cannot be changed: delete the RoleBinding ${metadata.name} first.`;
  }
  return "The API server's words say which field it does not accept.";
}

/** The rights in the text of a refused escalation. */
function wanted({ serverMessage }: KubeError): string {
  return serverMessage.split("\n").slice(1).join("; ");
}

const plurals: Readonly<Record<string, string>> = {
  Namespace: "namespaces",
  ServiceAccount: "serviceaccounts",
  Secret: "secrets",
  ConfigMap: "configmaps",
  ResourceQuota: "resourcequotas",
  LimitRange: "limitranges",
  Role: "roles",
  RoleBinding: "rolebindings",
  NetworkPolicy: "networkpolicies",
  DaemonSet: "daemonsets",
};

/** Where the API server has the object. */
export function pathOf({ apiVersion, kind, metadata }: KubernetesObject): string {
  const plural = plurals[kind];
  if (plural === undefined) throw new Error(`no path is known for ${kind}`);
  const group = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const place = metadata.namespace === undefined ? "" : `/namespaces/${metadata.namespace}`;
  return `${group}${place}/${plural}/${metadata.name}`;
}
