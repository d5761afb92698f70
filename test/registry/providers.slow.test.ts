import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { HodeiClient } from "#client/client.ts";
import {
  eventsOf,
  folderForTest,
  named,
  noWorkers,
  openServer,
  type Running,
  start,
} from "./ground.ts";

let folder: string;
beforeEach(() => {
  folder = folderForTest();
});

describe("providers of a server", { timeout: 60_000 }, () => {
  test("two of one type run side by side, and are there after a restart", async () => {
    const first = await start(folder);
    expect(await first.client.providers.get("process")).toMatchObject({
      source: "environment",
      isEnabled: true,
      maxWorkers: 16,
    });
    const made = await first.client.providers.register({
      name: "second",
      type: "process",
      maxWorkers: 3,
      priority: 5,
      labels: { zone: "b" },
      region: "north",
    });
    expect(made).toMatchObject({
      id: expect.stringMatching(/^p[0-9a-f]{16}$/),
      source: "api",
      health: "healthy",
      maxWorkers: 3,
      workerLimit: 3,
      labels: { zone: "b" },
      version: 1,
    });
    const ran: string[] = [];
    for (const name of ["process", "second", made.id]) {
      const { id } = await first.client.submit({
        command: ["true"],
        provider: { name, isStrict: true },
      });
      const job = await first.client.wait(id);
      expect(job.state).toBe("succeeded");
      ran.push(job.attempts[0]?.provider ?? "");
    }
    // `process` is a type too, and the second one is preferred.
    expect(ran).toEqual(["second", "second", "second"]);
    await noWorkers(first.client);
    await first.stop();

    const { client } = await start(folder);
    expect(named(await client.providers.list())).toEqual(["process", "second"]);
    expect(await client.providers.get(made.id)).toMatchObject({ name: "second", priority: 5 });
    await client.providers.update("process", { priority: 9 });
    const { id } = await client.submit({ command: ["true"], provider: "process" });
    expect((await client.wait(id)).attempts[0]?.provider).toBe("process");
    await noWorkers(client);
    await client.providers.remove("second");
    expect(named(await client.providers.list())).toEqual(["process"]);
    await expect(client.providers.remove("process")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
  });

  test("one with a worker stays; disabled it lets its job finish and takes no other", async () => {
    const { client } = await start(folder);
    await client.providers.register({ name: "second", type: "process", priority: 1 });
    const strict = { name: "second", isStrict: true };
    const gate = join(folder, "gate");
    const command = ["sh", "-c", `until [ -e ${gate} ]; do sleep 0.05; done`];
    const running = await client.submit({ command, provider: strict });
    for await (const { state } of client.watch(running.id)) if (state === "running") break;
    await expect(client.providers.remove("second")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("1 "),
    });
    const disabled = await client.providers.disable("second", { reason: "is repaired" });
    expect(disabled).toMatchObject({ isEnabled: false, workers: 1 });
    const waiting = await client.submit({ command: ["true"], provider: strict });
    const why = (await client.explain(waiting.id)).providers.find(
      (one) => one.provider === "second",
    );
    expect(why).toMatchObject({ isEligible: false, reason: expect.stringContaining("disabled") });
    writeFileSync(gate, "");
    expect((await client.wait(running.id)).state).toBe("succeeded");
    await noWorkers(client);
    expect((await client.get(waiting.id)).state).toBe("queued");
    await client.providers.enable("second");
    expect((await client.wait(waiting.id)).state).toBe("succeeded");
    const events = await eventsOf(client, "second");
    expect(events).toEqual(
      expect.arrayContaining([
        "registered process",
        "enabled enabled disabled",
        "enabled disabled enabled",
      ]),
    );
    await noWorkers(client);
    await client.providers.remove("second");
  });

  test("are changed in part, and only in the version that was seen", async () => {
    const { client } = await start(folder);
    const made = await client.providers.register({
      name: "second",
      type: "process",
      maxWorkers: 3,
      labels: { zone: "a" },
      pricePerHour: { cpuCore: 1, memoryGib: 0, gpu: 0 },
    });
    const { version } = made;
    const changed = await client.providers.update(made.id, {
      priority: 7,
      maxWorkers: undefined,
      startDeadlineMs: 30_000,
      version,
    });
    expect(changed).toMatchObject({
      priority: 7,
      workerLimit: undefined,
      maxWorkers: 16,
      startDeadlineMs: 30_000,
      labels: { zone: "a" },
      pricePerHour: { cpuCore: 1 },
      version: version + 1,
    });
    await expect(client.providers.update("second", { priority: 8, version })).rejects.toMatchObject(
      { code: "ABORTED" },
    );
    const plain = await client.providers.update("second", { labels: {}, pricePerHour: undefined });
    expect(plain).toMatchObject({ labels: {}, pricePerHour: undefined, priority: 7 });
  });

  test("are managed by admins, switched by operators, and every change is on record", async () => {
    const adminToken = "the-admin-of-this-test";
    const { server } = await start(folder, { HODEI_ADMIN_TOKEN: adminToken });
    await using admin = new HodeiClient({ address: server.address, token: adminToken });
    const tenant = "default";
    const { secret: token } = await admin.tokens.create({
      subject: "olga",
      tenant,
      role: "operator",
    });
    await using operator = new HodeiClient({ address: server.address, token });
    const wish = { name: "second", type: "process" } as const;
    const denied = { code: "PERMISSION_DENIED" };
    await expect(operator.providers.register(wish)).rejects.toMatchObject(denied);
    await admin.providers.register(wish);
    await expect(operator.providers.update("second", { priority: 1 })).rejects.toMatchObject(
      denied,
    );
    await operator.providers.disable("second");
    await expect(operator.providers.remove("second")).rejects.toMatchObject(denied);
    await admin.providers.update("second", { priority: 1 });
    await expect(admin.providers.register(wish)).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
    await admin.providers.remove("second");
    const rows: string[] = [];
    for await (const { actor, action, outcome } of admin.audit.list({ target: "second" })) {
      rows.push(`${actor} ${action} ${outcome}`);
    }
    expect(rows.toReversed()).toEqual([
      "admin RegisterProvider OK",
      "olga DisableProvider OK",
      "admin UpdateProvider OK",
      "admin RegisterProvider ALREADY_EXISTS",
      "admin DeleteProvider OK",
    ]);
  });

  test("are filtered and summed up", async () => {
    const path = join(folder, "providers.yaml");
    writeFileSync(path, "- { name: far, type: kubernetes, config: { kubeconfig: /nowhere } }");
    const { client } = await start(folder, {
      HODEI_PROCESS_ENABLED: "1",
      HODEI_PROCESS_MAX_WORKERS: "4",
      HODEI_PROVIDERS_FILE: path,
    });
    await client.providers.register({ name: "off", type: "process", isEnabled: false });
    const names = async (filter: Parameters<typeof client.providers.list>[0]) =>
      named(await client.providers.list(filter));
    expect(await names({ type: "process" })).toEqual(["off", "process"]);
    expect(await names({ isEnabled: false })).toEqual(["off"]);
    expect(await names({ health: "unhealthy" })).toEqual(["far"]);
    expect(await names({ onlyWithCapacity: true })).toEqual(["process"]);
    expect(await client.providers.stats()).toMatchObject({
      totalProviders: 3,
      enabledProviders: 2,
      providersWithCapacity: 1,
      totalMaxWorkers: 4,
      totalActiveWorkers: 0,
      utilizationPercent: 0,
    });
  });
});

describe("a provider that cannot be", () => {
  let running: Running;
  let stop: () => Promise<void>;
  beforeAll(async () => {
    const own = mkdtempSync(join(tmpdir(), "hodei-registry-"));
    running = await openServer(own);
    stop = async () => {
      await running.stop();
      rmSync(own, { recursive: true, force: true, maxRetries: 3 });
    };
  });
  afterAll(() => stop());

  test.for([
    [{ name: "Upper", type: "process" }, "name: has to be lower-case"],
    [{ name: "docker", type: "process" }, "name: docker names a type"],
    [{ name: "k8s", type: "kubernetes" }, "name: k8s names a type"],
    [{ name: `p${"0".repeat(16)}`, type: "process" }, "name: looks like the id"],
    [{ name: "x", type: "vm" }, "type: has to be"],
    [{ name: "x", type: "process", config: { image: "y" } }, "config.image: is not a setting"],
    [{ name: "x", type: "process", maxWorkers: 0 }, "max_workers: has to be"],
    [{ name: "x", type: "process", architectures: ["vax"] }, "architectures: have to be"],
    [{ name: "x", type: "process", runtimes: ["a b"] }, 'runtimes: "a b" is no runtime'],
    [{ name: "x", type: "docker" }, "config.host: has to be a tcp://"],
    [{ name: "x", type: "docker", config: { host: "unix:///run/x" } }, "config.host: has to be"],
    [{ name: "x", type: "docker", config: { host: "tcp://h:2376" } }, "credentials.docker_ca: is"],
    [
      { name: "x", type: "docker", config: { certDirectory: "/etc" } },
      "names a file of the server",
    ],
    [{ name: "x", type: "kubernetes" }, "credentials.kubeconfig: is needed"],
    [{ name: "x", type: "kubernetes", config: { kubeconfig: "/x" } }, "names a file of the server"],
  ] as const)("%j is refused: %s", async ([wish, problem]) => {
    await expect(
      running.client.providers.register(
        wish as Parameters<typeof running.client.providers.register>[0],
      ),
    ).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(problem),
    });
  });
});
