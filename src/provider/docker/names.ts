import type { WorkerId } from "#job/id.ts";

/** Labels that are ours. */
export const keys = {
  managed: "hodei.io/managed",
  instance: "hodei.io/instance",
  provider: "hodei.io/provider",
  providerId: "hodei.io/provider-id",
  workerId: "hodei.io/worker-id",
  tenantId: "hodei.io/tenant-id",
  /** The image that a job named itself; absent with the default one. */
  jobImage: "hodei.io/job-image",
  maxLifetimeMs: "hodei.io/max-lifetime-ms",
  /** Followed by the key of a job's annotation. */
  annotation: "hodei.io/annotation.",
} as const;

/** Whose containers these are. */
export interface Ownership {
  readonly instanceId: string;
  /** The provider's name in the server. */
  readonly provider: string;
}

export function containerNameOf(id: WorkerId): string {
  return `hodei-worker-${id}`;
}

/** What everything that this server makes carries. */
export function managedLabels({ instanceId, provider }: Ownership): Record<string, string> {
  return {
    [keys.managed]: "true",
    [keys.instance]: instanceId,
    [keys.provider]: "Docker",
    [keys.providerId]: provider,
  };
}

/** For the engine's filters: the containers of this server's workers, and nothing else. */
export function ownFilter(ownership: Ownership): string[] {
  return Object.entries(managedLabels(ownership)).map(([key, value]) => `${key}=${value}`);
}

/** The worker of a container with these labels; undefined when it is not one of ours. */
export function workerOf(
  ownership: Ownership,
  labels: Readonly<Record<string, string>> | undefined,
): WorkerId | undefined {
  const isOurs = Object.entries(managedLabels(ownership)).every(
    ([key, value]) => labels?.[key] === value,
  );
  const id = labels?.[keys.workerId];
  return isOurs && id !== undefined && id !== "" ? (id as WorkerId) : undefined;
}

const reserved = /^(hodei\.io\/|com\.docker\.|io\.docker\.|org\.dockerproject\.)/;

/** What a job may put on its container: nothing under a name that means something to us or to the engine. */
export function labelsOfJob(
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
): Record<string, string> {
  return {
    ...Object.fromEntries(Object.entries(labels).filter(([key]) => !reserved.test(key))),
    ...Object.fromEntries(
      Object.entries(annotations).map(([key, value]) => [`${keys.annotation}${key}`, value]),
    ),
  };
}
