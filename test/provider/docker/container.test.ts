import { describe, expect, it, test } from "vitest";
import { workerIdOf } from "#job/id.ts";
import { defaultDockerConfig } from "#provider/docker/config.ts";
import { containerOf, dialledBy, limitsOf } from "#provider/docker/container.ts";
import { pricePerHour } from "#provider/docker/price.ts";
import { plainOf } from "#provider/docker/tail.ts";
import { specOf } from "./spec.ts";

const mib = 2 ** 20;
const making = {
  config: defaultDockerConfig,
  ownership: { instanceId: "server", provider: "docker" },
  engine: { cpus: 4, memoryBytes: 8_192 * mib },
  env: { HODEI_LOG_LEVEL: "info" },
};

describe("the container of a worker", () => {
  it("has no privileges, limits on everything, and nothing secret", () => {
    const spec = specOf(workerIdOf(1), {
      tenant: "team",
      serverCa: "PEM",
      labels: { team: "a", "hodei.io/managed": "false", "com.docker.compose.project": "x" },
      annotations: { why: "because" },
      maxLifetimeMs: 60_000,
      resources: { cpuMillis: 1_500, memoryBytes: 256 * mib },
    });
    expect(containerOf(making, spec)).toMatchInlineSnapshot(`
      {
        "AttachStderr": false,
        "AttachStdin": true,
        "AttachStdout": false,
        "Env": [
          "HOME=/home/hodei",
          "HODEI_LOG_LEVEL=info",
          "HODEI_WORKER_ID=w00000000001",
          "HODEI_SERVER_ADDRESS=host.docker.internal:1",
          "HODEI_OTP_FD=0",
          "HODEI_AGENT_WORK_DIR=/home/hodei",
          "HODEI_AGENT_SLOTS=1",
          "HODEI_DISCONNECT_TOLERANCE_MS=60000",
          "HODEI_MAX_LIFETIME_SECONDS=70",
          "HODEI_CA_CERT=PEM",
        ],
        "HostConfig": {
          "AutoRemove": false,
          "CapDrop": [
            "ALL",
          ],
          "ExtraHosts": [
            "host.docker.internal:host-gateway",
          ],
          "Init": true,
          "IpcMode": "private",
          "LogConfig": {
            "Config": {
              "max-file": "2",
              "max-size": "512k",
            },
            "Type": "json-file",
          },
          "Memory": 402653184,
          "MemorySwap": 402653184,
          "NanoCpus": 1500000000,
          "NetworkMode": "hodei-jobs-workers",
          "PidsLimit": 1024,
          "Privileged": false,
          "ReadonlyRootfs": true,
          "RestartPolicy": {
            "Name": "no",
          },
          "SecurityOpt": [
            "no-new-privileges:true",
          ],
          "Tmpfs": {
            "/home/hodei": "rw,exec,nosuid,nodev,size=1073741824,mode=0750,uid=1000,gid=1000",
            "/tmp": "rw,exec,nosuid,nodev,size=1073741824,mode=1777",
          },
        },
        "Image": "hodei-jobs-worker:latest",
        "Labels": {
          "hodei.io/annotation.why": "because",
          "hodei.io/instance": "server",
          "hodei.io/managed": "true",
          "hodei.io/max-lifetime-ms": "60000",
          "hodei.io/provider": "Docker",
          "hodei.io/provider-id": "docker",
          "hodei.io/tenant-id": "team",
          "hodei.io/worker-id": "w00000000001",
          "team": "a",
        },
        "OpenStdin": true,
        "StdinOnce": true,
        "Tty": false,
        "User": "1000:1000",
        "WorkingDir": "/home/hodei",
      }
    `);
    expect(JSON.stringify(containerOf(making, spec))).not.toContain(spec.otp);
  });

  it("has the image that its job names, and says so", () => {
    const body = containerOf(making, specOf(workerIdOf(1), { image: "some/image:1" }));
    expect(body.Image).toBe("some/image:1");
    expect(body.Labels).toMatchObject({ "hodei.io/job-image": "some/image:1" });
  });

  it("asks for GPUs where its job does", () => {
    const spec = specOf(workerIdOf(1), { resources: { gpuCount: 2 } });
    const requests = [{ Driver: "", Count: 2, Capabilities: [["gpu"]] }];
    expect(containerOf(making, spec).HostConfig?.DeviceRequests).toEqual(requests);
  });

  test.for([
    ["nothing", {}, { cpuMillis: 2_000, memoryBytes: (2_048 + 128) * mib }],
    ["cpu", { cpuMillis: 100 }, { cpuMillis: 100, memoryBytes: (2_048 + 128) * mib }],
    ["memory", { memoryBytes: 64 * mib }, { cpuMillis: 2_000, memoryBytes: (64 + 128) * mib }],
    [
      "disk, which lies in memory",
      { memoryBytes: 64 * mib, diskBytes: 100 * mib },
      { cpuMillis: 2_000, memoryBytes: (64 + 100 + 128) * mib },
    ],
  ] as const)("limits what asks for %s", ([, resources, limits]) => {
    expect(limitsOf(making, specOf(workerIdOf(1), { resources }).workerClass.resources)).toEqual(
      limits,
    );
  });

  it("is not given more by default than the engine has", () => {
    const small = { ...making, engine: { cpus: 1, memoryBytes: 512 * mib } };
    const { resources } = specOf(workerIdOf(1)).workerClass;
    expect(limitsOf(small, resources)).toEqual({ cpuMillis: 1_000, memoryBytes: 512 * mib });
    expect(limitsOf({ ...making, engine: undefined }, resources).cpuMillis).toBe(2_000);
  });
});

test.for([
  ["127.0.0.1:50051", "", "host.docker.internal:50051"],
  ["[::1]:50051", "", "host.docker.internal:50051"],
  ["localhost:50051", "", "host.docker.internal:50051"],
  [
    "127.0.0.1:50051,a.example.org:1, [::1]:50052",
    "",
    "host.docker.internal:50051,a.example.org:1, host.docker.internal:50052",
  ],
  ["192.0.2.1:50051", "", "192.0.2.1:50051"],
  ["127.0.0.1:50051", "hodei.example.org:443", "hodei.example.org:443"],
] as const)("containers dial for %s and a setting of '%s': %s", ([address, setting, dialled]) => {
  expect(dialledBy({ ...defaultDockerConfig, serverAddress: setting }, address)).toBe(dialled);
});

test("a price is that of what the container may use", () => {
  const config = { ...defaultDockerConfig, price: { cpuCore: 1, memoryGib: 10, gpu: 100 } };
  const { resources } = specOf(workerIdOf(1)).workerClass;
  expect(pricePerHour(config, resources)).toBe(22);
  const large = { ...resources, cpuMillis: 500, memoryBytes: 2 ** 29, gpuCount: 1 };
  expect(pricePerHour(config, large)).toBe(105.5);
});

test("the engine's frames around what a container printed are taken off", () => {
  const frame = (stream: number, text: string): Buffer => {
    const head = Buffer.alloc(8);
    head.writeUInt8(stream);
    head.writeUInt32BE(Buffer.byteLength(text), 4);
    return Buffer.concat([head, Buffer.from(text)]);
  };
  expect(plainOf(Buffer.concat([frame(1, "a\n"), frame(2, "ünï\n")])).toString()).toBe("a\nünï\n");
  expect(plainOf(Buffer.alloc(0)).toString()).toBe("");
});
