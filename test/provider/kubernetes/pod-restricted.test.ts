import type { V1Container, V1Pod } from "@kubernetes/client-node";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { annotationProblem, labelProblem } from "#job/label.ts";
import { namespaceOf } from "#provider/kubernetes/names.ts";
import { buildPod } from "#provider/kubernetes/pod.ts";
import { parseBytes, parseMillis, parseQuantity } from "#provider/kubernetes/quantity.ts";
import type { WorkerSpec } from "#provider/provider.ts";
import { configWith, place, workerSpec } from "./pod-specs.ts";

const volumeKinds = [
  "configMap",
  "csi",
  "downwardAPI",
  "emptyDir",
  "ephemeral",
  "persistentVolumeClaim",
  "projected",
  "secret",
];

/** What the Pod Security Standards' restricted profile, with the baseline one in it, forbids. */
function violations(pod: V1Pod): string[] {
  const spec = pod.spec;
  if (spec === undefined) return ["no spec"];
  const found: string[] = [];
  const check = (isFine: boolean, what: string): void => void (isFine || found.push(what));
  check(!spec.hostNetwork && !spec.hostPID && !spec.hostIPC, "host namespaces");
  for (const volume of spec.volumes ?? []) {
    const kinds = Object.keys(volume).filter((key) => key !== "name");
    check(
      kinds.every((kind) => volumeKinds.includes(kind)),
      `volume ${volume.name}`,
    );
  }
  const general = spec.securityContext ?? {};
  check((general.sysctls ?? []).length === 0, "sysctls");
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    const { name, securityContext: own = {} } = container;
    const allowed = (kind = ""): boolean => kind === "RuntimeDefault" || kind === "Localhost";
    check(own.privileged !== true, `${name} is privileged`);
    check(own.allowPrivilegeEscalation === false, `${name} may escalate`);
    check(own.capabilities?.drop?.includes("ALL") === true, `${name} keeps capabilities`);
    const added = own.capabilities?.add ?? [];
    check(
      added.every((each) => each === "NET_BIND_SERVICE"),
      `${name} adds capabilities`,
    );
    check(own.runAsNonRoot ?? general.runAsNonRoot ?? false, `${name} may run as root`);
    check((own.runAsUser ?? general.runAsUser) !== 0, `${name} runs as root`);
    check(allowed((own.seccompProfile ?? general.seccompProfile)?.type), `${name} has no seccomp`);
    check((own.procMount ?? "Default") === "Default", `${name} has a proc mount`);
    check(
      (container.ports ?? []).every(({ hostPort }) => !hostPort),
      `${name} has a host port`,
    );
    check(own.seLinuxOptions === undefined, `${name} has SELinux options`);
  }
  return found;
}

const labels = fc.dictionary(
  fc.oneof(
    fc.stringMatching(/^[A-Za-z0-9]([-A-Za-z0-9_.]{0,20}[A-Za-z0-9])?$/),
    fc.constantFrom(
      "app",
      "team",
      "example.com/app",
      "hodei.io/worker-id",
      "hodei.io/managed",
      "sub.hodei.io/x",
      "sidecar.istio.io/inject",
      "app.kubernetes.io/name",
      " workload-type",
    ),
  ),
  fc.oneof(fc.stringMatching(/^[A-Za-z0-9]{0,63}$/), fc.constantFrom("", "false", "evil value")),
);

const resources = fc.record({
  cpuMillis: fc.nat(1_000_000),
  memoryBytes: fc.nat(2 ** 40),
  diskBytes: fc.nat(2 ** 40),
  gpuCount: fc.nat(16),
  gpuType: fc.constantFrom("", "nvidia-tesla-t4", "amd-mi100", "intel-xe", "nvidia.com/mig-1g.5gb"),
});

const specs: fc.Arbitrary<WorkerSpec> = fc
  .record({
    workerId: fc.nat().map(workerIdOf),
    tenant: fc.option(fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?$/), {
      nil: undefined,
    }),
    labels,
    annotations: labels,
    slots: fc.integer({ min: 1, max: 100 }),
    serverCa: fc.constantFrom(undefined, "PEM"),
    maxLifetimeMs: fc.option(fc.nat(), { nil: undefined }),
    image: fc.constantFrom("", "registry.example/team/image:1"),
    resources,
  })
  .map((fields) => workerSpec(fields));

const context = fc.record(
  {
    privileged: fc.boolean(),
    allowPrivilegeEscalation: fc.boolean(),
    runAsUser: fc.constantFrom(0, 1_000, 2_000),
    runAsNonRoot: fc.boolean(),
    procMount: fc.constantFrom("Default", "Unmasked"),
    capabilities: fc.record({
      add: fc.subarray(["SYS_ADMIN", "NET_BIND_SERVICE"]),
      drop: fc.subarray(["NET_RAW"]),
    }),
    seccompProfile: fc.record({ type: fc.constantFrom("Unconfined", "Localhost") }),
  },
  { requiredKeys: [] },
);
const containers: fc.Arbitrary<V1Container[]> = fc
  .array(fc.record({ image: fc.constant("i"), securityContext: context }), { maxLength: 2 })
  .map((list): V1Container[] => list.map((each, index) => ({ ...each, name: `c${index}` })));

describe("a restricted worker's pod", () => {
  it("passes the profile, whatever the job and the containers beside it ask for", () => {
    fc.assert(
      fc.property(
        specs,
        containers,
        containers,
        fc.boolean(),
        (spec, initContainers, sidecars, attestation) => {
          const config = configWith({ initContainers, sidecars, attestation });
          expect(violations(buildPod(config, spec, place))).toEqual([]);
        },
      ),
    );
  });

  it("is selected by our labels, and carries the job's valid ones", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const config = configWith({ dynamicNamespaces: true });
        const namespace = namespaceOf(config, spec.tenant);
        const { metadata } = buildPod(config, spec, { ...place, namespace });
        const all = metadata?.labels ?? {};
        expect(all).toMatchObject({
          app: "hodei-jobs-worker",
          "hodei.io/managed": "true",
          "hodei.io/instance": place.instanceId,
          "hodei.io/provider": "Kubernetes",
          "hodei.io/worker-id": spec.workerId,
          "sidecar.istio.io/inject": "false",
        });
        const { app: _, "sidecar.istio.io/inject": __, ...users } = spec.labels;
        for (const [key, value] of Object.entries(users)) {
          if (labelProblem(key, value) === undefined) expect(all[key]).toBe(value);
          else if (!key.startsWith("hodei.io/")) expect(all).not.toHaveProperty([key]);
        }
        const foreign = Object.keys(metadata?.annotations ?? {}).filter(
          (key) => annotationProblem(key) !== undefined && key in spec.annotations,
        );
        for (const key of foreign) expect(key).not.toMatch(/worker-id|managed|sub\.|app\./);
      }),
    );
  });

  it("gets what the job asked for as request and limit, with what the agent needs besides", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const config = configWith();
        const { cpuMillis, memoryBytes } = spec.workerClass.resources;
        const [container] = buildPod(config, spec, place).spec?.containers ?? [];
        const { requests = {}, limits = {} } = container?.resources ?? {};
        for (const [name, quantity] of Object.entries(requests)) {
          const limit = parseQuantity(limits[name] ?? "") ?? 0;
          expect(parseQuantity(quantity) ?? Infinity).toBeLessThanOrEqual(limit);
        }
        if (cpuMillis > 0) {
          expect(parseMillis(requests["cpu"] ?? "")).toBe(cpuMillis);
          const least = Math.max(cpuMillis, config.agentCpuMillis);
          expect(parseMillis(limits["cpu"] ?? "")).toBe(least);
        }
        if (memoryBytes > 0) {
          expect(parseBytes(limits["memory"] ?? "")).toBe(memoryBytes + config.agentMemoryBytes);
          expect(requests["memory"]).toBe(limits["memory"]);
        }
      }),
    );
  });

  it("shows nothing secret, and no reference in a variable", () => {
    const env = { A: "$(HODEI_WORKER_ID)", B: "$$(X)", C: "$HOME", D: "a$" };
    const pod = buildPod(configWith(), workerSpec({ otp: "secret-otp" }), { ...place, env });
    expect(JSON.stringify(pod)).not.toContain("secret-otp");
    const values = new Map(
      pod.spec?.containers[0]?.env?.map(({ name, value = "" }) => [name, value]),
    );
    const expand = (text = ""): string =>
      text.replace(/\$(\$|\([^)]*\))/g, (whole, end) => (end === "$" ? "$" : `<${whole}>`));
    for (const [name, value] of Object.entries(env)) expect(expand(values.get(name))).toBe(value);
  });
});
