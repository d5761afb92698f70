import { join } from "node:path";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import type { KubernetesConfig } from "#provider/kubernetes/config.ts";
import { namespaceOf } from "#provider/kubernetes/names.ts";
import { buildPod } from "#provider/kubernetes/pod.ts";
import { buildSecret, caObject } from "#provider/kubernetes/secret.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { configWith, place, workerSpec } from "./pod-specs.ts";

interface Variant {
  readonly name: string;
  readonly config?: Partial<KubernetesConfig>;
  readonly spec?: WorkerSpec;
}

const init = { name: "fetch", image: "busybox:1", command: ["sh", "-c", "true"] };
const sidecar = { name: "proxy", image: "proxy:1", securityContext: { privileged: true } };

const variants: readonly Variant[] = [
  { name: "default" },
  { name: "legacy-names", config: { names: "legacy" } },
  {
    name: "resources",
    spec: workerSpec({
      resources: { cpuMillis: 100, memoryBytes: 67_108_864, diskBytes: 1_073_741_824 },
    }),
  },
  {
    name: "gpu-nvidia",
    spec: workerSpec({ resources: { gpuCount: 2, gpuType: "nvidia-tesla-t4" } }),
  },
  { name: "gpu-amd", spec: workerSpec({ resources: { gpuCount: 1, gpuType: "amd-mi100" } }) },
  { name: "gpu-intel", spec: workerSpec({ resources: { gpuCount: 1, gpuType: "intel-xe" } }) },
  {
    name: "volumes",
    config: {
      volumes: [
        { kind: "pvc", name: "models", mountPath: "/models", claimName: "models", readOnly: true },
        {
          kind: "emptyDir",
          name: "cache",
          mountPath: "/cache",
          sizeBytes: 2 ** 29,
          inMemory: true,
        },
        { kind: "emptyDir", name: "temporary", mountPath: "/tmp", sizeBytes: 2 ** 30 },
      ],
    },
  },
  {
    name: "placement",
    config: {
      nodeSelector: { pool: "jobs" },
      tolerations: [
        { key: "dedicated", operator: "Equal", value: "jobs", effect: "NoSchedule" },
        {
          key: "node.kubernetes.io/unreachable",
          operator: "Exists",
          effect: "NoExecute",
          tolerationSeconds: 60,
        },
      ],
      podAffinity: [
        { labels: { app: "cache" }, topologyKey: "kubernetes.io/hostname", weight: 50 },
      ],
      podAntiAffinity: [
        {
          labels: { app: "hodei-jobs-worker" },
          topologyKey: "kubernetes.io/hostname",
          weight: 100,
        },
      ],
      imagePullSecrets: ["regcred"],
      runtimeClassName: "gvisor",
      priorityClassName: "jobs",
    },
  },
  {
    name: "tenant",
    config: { dynamicNamespaces: true },
    spec: workerSpec({
      tenant: "acme",
      image: "registry.example/build:1",
      labels: { team: "blue", app: "mine", "hodei.io/worker-id": "mine" },
      annotations: { note: "any text, also with spaces", "hodei.io/provider-id": "mine" },
    }),
  },
  { name: "containers", config: { initContainers: [init], sidecars: [sidecar] } },
  { name: "attestation", config: { attestation: true } },
  { name: "security-restricted", config: { podSecurityStandard: "restricted" } },
  { name: "security-baseline", config: { podSecurityStandard: "baseline", sidecars: [sidecar] } },
  {
    name: "security-privileged",
    config: {
      podSecurityStandard: "privileged",
      sidecars: [sidecar],
      volumes: [{ kind: "hostPath", name: "devices", mountPath: "/volumes/devices", path: "/dev" }],
    },
  },
];

it.for(variants)("the pod of variant $name is as on record", async ({ name, config, spec }) => {
  const wanted = configWith(config);
  const worker = spec ?? workerSpec();
  const namespace = namespaceOf(wanted, worker.tenant);
  const pod = buildPod(wanted, worker, { ...place, namespace });
  expect(JSON.stringify(pod)).not.toContain(worker.otp);
  await expect(textOf(pod)).toMatchFileSnapshot(golden(`pod-${name}`));
});

it("the Secret and the ConfigMap are as on record", async () => {
  const config = configWith({ imagePullSecrets: ["regcred"] });
  const objects = {
    secret: buildSecret(config, workerSpec(), place),
    "ca-config-map": caObject(config, "PEM", place),
  };
  for (const [name, object] of Object.entries(objects)) {
    await expect(textOf(object)).toMatchFileSnapshot(golden(name));
  }
});

function textOf(object: object): string {
  return stringify(JSON.parse(JSON.stringify(object)), { lineWidth: 0 });
}

function golden(name: string): string {
  return join(import.meta.dirname, "golden", `${name}.yaml`);
}
