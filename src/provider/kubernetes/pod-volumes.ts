import type { V1Volume, V1VolumeMount } from "@kubernetes/client-node";
import type { WorkerSpec } from "#provider/provider.ts";
import type { KubernetesConfig, WorkerVolume } from "./config.ts";
import { caNameOf, secretNameOf } from "./names.ts";
import { formatBytes } from "./quantity.ts";

/** Where things are in a worker's container. */
export const paths = {
  work: "/home/hodei",
  temporary: "/tmp",
  credentials: "/var/run/hodei",
  otp: "/var/run/hodei/otp",
  attestation: "/var/run/hodei/token",
  ca: "/var/run/hodei/ca.crt",
} as const;

/** Keys of a worker's Secret, and of the ConfigMap that stands in for it where workers are attested. */
export const files = { otp: "otp", ca: "ca.crt" } as const;

/** Of the token that a worker is attested by; the shortest that a cluster makes. */
const attestationSeconds = 600;

/** What the agent keeps on disk beside the job's own: its spool of unsent log records above all. */
export const agentDiskBytes = 128 * 1024 * 1024;

export interface Mounted {
  readonly volumes: V1Volume[];
  /** For every container. */
  readonly scratch: V1VolumeMount[];
  /** For the worker's alone. */
  readonly worker: V1VolumeMount[];
}

/** Everything that is mounted into a worker's pod. What the operator mounts at the place of a writable directory stands in for it. */
export function volumesOf(config: KubernetesConfig, spec: WorkerSpec, instanceId: string): Mounted {
  const { diskBytes } = spec.workerClass.resources;
  const sizeLimit = formatBytes(diskBytes > 0 ? diskBytes + agentDiskBytes : config.scratchBytes);
  const own = [
    { name: "hodei-work", mountPath: paths.work },
    { name: "hodei-tmp", mountPath: paths.temporary },
  ].filter(({ mountPath }) => !config.volumes.some((volume) => volume.mountPath === mountPath));
  const credentials = credentialsOf(config, spec, instanceId);
  const { name: given } = credentials;
  return {
    volumes: [
      credentials,
      ...own.map(({ name }) => ({ name, emptyDir: { sizeLimit } })),
      ...config.volumes.map(volumeOf),
    ],
    scratch: own,
    worker: [
      { name: given, mountPath: paths.credentials, readOnly: true },
      ...config.volumes.map(({ name, mountPath, readOnly }) => ({
        name,
        mountPath,
        ...(readOnly === true ? { readOnly } : {}),
      })),
    ],
  };
}

/** Readable by the group of the pod, which is the agent's. */
const mode = 0o440;

function credentialsOf(config: KubernetesConfig, spec: WorkerSpec, instanceId: string): V1Volume {
  const name = "hodei-credentials";
  if (!config.attestation) {
    const secretName = secretNameOf(spec.workerId);
    return { name, secret: { secretName, defaultMode: mode } };
  }
  const { attestationAudience: audience } = config;
  const token = {
    serviceAccountToken: { audience, expirationSeconds: attestationSeconds, path: "token" },
  };
  const ca = {
    configMap: { name: caNameOf(instanceId), items: [{ key: files.ca, path: files.ca }] },
  };
  const sources = spec.serverCa === undefined ? [token] : [token, ca];
  return { name, projected: { defaultMode: mode, sources } };
}

function volumeOf(volume: WorkerVolume): V1Volume {
  const { name } = volume;
  switch (volume.kind) {
    case "pvc": {
      const { claimName, readOnly } = volume;
      const persistentVolumeClaim = { claimName, ...(readOnly === true ? { readOnly } : {}) };
      return { name, persistentVolumeClaim };
    }
    case "emptyDir": {
      const { sizeBytes, inMemory } = volume;
      return {
        name,
        emptyDir: {
          ...(sizeBytes === undefined ? {} : { sizeLimit: formatBytes(sizeBytes) }),
          ...(inMemory === true ? { medium: "Memory" } : {}),
        },
      };
    }
    case "hostPath":
      return { name, hostPath: { path: volume.path } };
  }
}
