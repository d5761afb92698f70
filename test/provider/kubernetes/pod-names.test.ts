import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { gpuRequestOf } from "#provider/kubernetes/gpu.ts";
import {
  isReserved,
  labelValueOf,
  managedLabels,
  namespaceOf,
  podNameOf,
  selectorOf,
} from "#provider/kubernetes/names.ts";
import { pricePerHour } from "#provider/kubernetes/price.ts";
import {
  formatBytes,
  formatMillis,
  parseBytes,
  parseMillis,
  parseQuantity,
} from "#provider/kubernetes/quantity.ts";
import { workerIdOf } from "#job/id.ts";
import { configWith } from "./pod-specs.ts";

const dnsLabel = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const rule = { namespace: "hodei-jobs-workers", dynamicNamespaces: true };

describe("namespaces", () => {
  it.for([
    ["hodei-tenant", "acme", "hodei-tenant-acme"],
    ["hodei-tenant-", "acme", "hodei-tenant-acme"],
    ["", "acme", "acme"],
  ] as const)("of prefix %s and tenant %s is %s", ([namespacePrefix, tenant, name]) => {
    expect(namespaceOf({ ...rule, namespacePrefix }, tenant)).toBe(name);
  });

  it("are the default one without a tenant, and without tenant namespaces", () => {
    const namespacePrefix = "hodei-tenant";
    expect(namespaceOf({ ...rule, namespacePrefix }, undefined)).toBe(rule.namespace);
    const shared = { ...rule, namespacePrefix, dynamicNamespaces: false };
    expect(namespaceOf(shared, "acme")).toBe(rule.namespace);
  });

  it("are never the server's own", () => {
    const controlPlane = { namespace: "hodei-system" };
    const name = namespaceOf({ ...rule, namespacePrefix: "hodei", controlPlane }, "system");
    expect(name).toMatch(/^hodei-system-x[0-9a-f]{12}$/);
  });

  it("are names, never reserved, and differ for any two tenants", () => {
    const tenant = fc.oneof(
      fc.string({ minLength: 1, maxLength: 80 }),
      fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,46}[a-z0-9])?$/),
      fc.constantFrom("default", "system", "kube-system", "hodei-jobs-workers", "x-x0123456789ab"),
    );
    const prefix = fc.constantFrom("", "kube", "hodei-tenant", "a".repeat(60), "hodei");
    fc.assert(
      fc.property(prefix, tenant, tenant, (namespacePrefix, one, other) => {
        const names = [one, other].map((each) => namespaceOf({ ...rule, namespacePrefix }, each));
        for (const name of names) {
          expect(name).toMatch(dnsLabel);
          expect(isReserved(name)).toBe(false);
          expect(name).not.toBe(rule.namespace);
        }
        expect(names[0] === names[1]).toBe(one === other);
      }),
    );
  });
});

describe("labels", () => {
  it("say whose a worker is", () => {
    const id = workerIdOf(7);
    const owner = { app: "hodei-jobs-worker", instanceId: "server", provider: "k8s" };
    expect(managedLabels(owner, { id, tenant: "acme" })).toEqual({
      app: "hodei-jobs-worker",
      "hodei.io/managed": "true",
      "hodei.io/instance": "server",
      "hodei.io/provider": "Kubernetes",
      "hodei.io/provider-id": "k8s",
      "hodei.io/worker-id": id,
      "hodei.io/tenant-id": "acme",
    });
    expect(selectorOf("server")).toBe(
      "hodei.io/managed=true,hodei.io/instance=server,hodei.io/worker-id",
    );
    expect(podNameOf(id)).toMatch(dnsLabel);
  });

  it("have values that a cluster takes, one for each text", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        const values = [one, other].map(labelValueOf);
        for (const value of values) {
          expect(value).toMatch(/^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/);
        }
        expect(values[0] === values[1]).toBe(one === other);
      }),
    );
  });
});

describe("quantities", () => {
  it.for([
    ["500m", 0.5],
    ["2", 2],
    ["0.1", 0.1],
    ["1e3", 1_000],
    ["1Gi", 2 ** 30],
    ["1.5Gi", 1.5 * 2 ** 30],
    ["4G", 4e9],
    ["128Mi", 2 ** 27],
    ["", undefined],
    ["1GB", undefined],
    ["lots", undefined],
  ] as const)("%s is %d", ([text, number]) => {
    if (number === undefined) expect(parseQuantity(text)).toBeUndefined();
    else expect(parseQuantity(text)).toBeCloseTo(number, 9);
  });

  it("of cores are written in millis, of bytes in the largest exact unit", () => {
    expect(formatMillis(100)).toBe("100m");
    expect(formatMillis(2_000)).toBe("2");
    expect(formatBytes(67_108_864)).toBe("64Mi");
    expect(formatBytes(2 ** 40)).toBe("1Ti");
    expect(formatBytes(1_000)).toBe("1000");
    expect(parseMillis("0.3")).toBe(300);
    expect(parseMillis("1n")).toBe(1);
  });

  it("come back as they were written", () => {
    fc.assert(
      fc.property(fc.nat(10_000_000), fc.nat(2 ** 40), (millis, bytes) => {
        expect(parseMillis(formatMillis(millis))).toBe(millis);
        expect(parseBytes(formatBytes(bytes))).toBe(bytes);
      }),
    );
  });
});

describe("gpus", () => {
  it.for([
    ["", "nvidia.com/gpu", ""],
    ["nvidia", "nvidia.com/gpu", ""],
    ["nvidia-tesla-t4", "nvidia.com/gpu", "nvidia-tesla-t4"],
    ["H100", "nvidia.com/gpu", "H100"],
    ["amd", "amd.com/gpu", ""],
    ["AMD-mi200", "amd.com/gpu", "AMD-mi200"],
    ["intel-xe", "gpu.intel.com/xe", ""],
    ["intel-i915", "gpu.intel.com/i915", ""],
    ["intel-max-1550", "gpu.intel.com/xe", "intel-max-1550"],
    ["nvidia.com/mig-1g.5gb", "nvidia.com/mig-1g.5gb", ""],
  ] as const)("of type '%s' are %s, model '%s'", ([type, resource, model]) => {
    expect(gpuRequestOf(2, type)).toEqual({ resource, count: 2, model });
    expect(gpuRequestOf(0, type)).toBeUndefined();
  });
});

it("a price counts what a pod requests", () => {
  const config = configWith({ price: { cpuCore: 1, memoryGib: 10, gpu: 100 } });
  const none = { cpuMillis: 0, memoryBytes: 0, diskBytes: 0, gpuCount: 0, gpuType: "" };
  expect(pricePerHour(config, none)).toBe(0.5 + 10);
  const asked = { ...none, cpuMillis: 2_000, memoryBytes: 2 ** 31, gpuCount: 3 };
  expect(pricePerHour(config, asked)).toBe(2 + 20 + 300);
});
