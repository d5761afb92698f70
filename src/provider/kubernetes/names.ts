import { createHash } from "node:crypto";
import type { WorkerId } from "#job/id.ts";

/** Keys of labels and annotations that are ours. */
export const keys = {
  app: "app",
  managed: "hodei.io/managed",
  instance: "hodei.io/instance",
  provider: "hodei.io/provider",
  providerId: "hodei.io/provider-id",
  workerId: "hodei.io/worker-id",
  tenantId: "hodei.io/tenant-id",
  component: "hodei.io/component",
  /** Annotation: until when a failed pod is kept for a look at it, in ISO 8601. */
  holdUntil: "hodei.io/hold-until",
  /** Annotation: the same as a number of seconds, as older tools know it. */
  ttlAfterFinished: "hodei.io/ttl-after-finished",
} as const;

/** Namespaces that are never a tenant's. */
const reservedNamespaces: ReadonlySet<string> = new Set(["default"]);
const reservedPrefix = "kube-";

const label = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** What a shortened name ends with, so that no tenant's plain name can be another's shortened one. */
const shortened = /-x[0-9a-f]{12}$/;
const longestName = 63;

/** Where workers live. */
export interface NamespaceRule {
  /** Of workers that no tenant owns, and of all workers without tenant namespaces. */
  readonly namespace: string;
  readonly dynamicNamespaces: boolean;
  readonly namespacePrefix: string;
  readonly controlPlane?: { readonly namespace: string };
}

/**
 * The namespace of a tenant's workers: `<prefix>-<tenant>` where that is a name, otherwise a shortened one with a hash. Two tenants never
 * share one, and it is never a reserved namespace, the server's own, nor the default one for workers.
 */
export function namespaceOf(rule: NamespaceRule, tenant: string | undefined): string {
  if (tenant === undefined || !rule.dynamicNamespaces) return rule.namespace;
  const prefix = rule.namespacePrefix.replace(/-+$/, "");
  const plain = prefix === "" ? tenant : `${prefix}-${tenant}`;
  const taken = [rule.namespace, rule.controlPlane?.namespace];
  const isFree = label.test(plain) && !isReserved(plain) && !taken.includes(plain);
  if (isFree && !shortened.test(plain)) return plain;
  const start = slugOf(plain);
  return shorten(start === "" || isReserved(`${start}-`) ? `hodei-${start}` : start, tenant);
}

/** Whether the cluster keeps that namespace for itself, so that no worker may live there. */
export function isReserved(namespace: string): boolean {
  return reservedNamespaces.has(namespace) || namespace.startsWith(reservedPrefix);
}

/** Of a worker's pod and, if it has one, its Secret. */
export function podNameOf(id: WorkerId): string {
  return `hodei-worker-${id}`;
}

export function secretNameOf(id: WorkerId): string {
  return podNameOf(id);
}

/** Of the ConfigMap with the authority that vouches for a server; servers that share a namespace have one each. */
export function caNameOf(instanceId: string): string {
  const plain = `hodei-ca-${instanceId}`;
  return label.test(plain) && !shortened.test(plain) ? plain : shorten(slugOf(plain), instanceId);
}

/** Any text as the value of a label: itself where it is one, otherwise shortened with a hash. */
export function labelValueOf(text: string): string {
  if (labelValue.test(text) && !shortened.test(text)) return text;
  return shorten(slugOf(text) || "id", text);
}

export interface Ownership {
  /** The value of the label `app`. */
  readonly app: string;
  readonly instanceId: string;
  /** The provider's name in the server. */
  readonly provider: string;
}

/** What everything that this server makes for its workers carries. */
export function managedLabels(
  { app, instanceId, provider }: Ownership,
  worker?: { readonly id: WorkerId; readonly tenant: string | undefined },
): Record<string, string> {
  return {
    [keys.app]: app,
    [keys.managed]: "true",
    [keys.instance]: labelValueOf(instanceId),
    [keys.provider]: "Kubernetes",
    [keys.providerId]: labelValueOf(provider),
    ...(worker === undefined ? {} : { [keys.workerId]: worker.id }),
    ...(worker?.tenant === undefined ? {} : { [keys.tenantId]: labelValueOf(worker.tenant) }),
  };
}

/** Selects what a server's instance made for its workers, and nothing else. */
export function selectorOf(instanceId: string): string {
  return `${keys.managed}=true,${keys.instance}=${labelValueOf(instanceId)},${keys.workerId}`;
}

function slugOf(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
}

function shorten(slug: string, whole: string): string {
  const digest = createHash("sha256").update(whole).digest("hex").slice(0, 12);
  const end = `-x${digest}`;
  return `${slug.slice(0, longestName - end.length).replace(/-+$/, "")}${end}`;
}
