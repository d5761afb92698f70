import { describe, expect, it, vi } from "vitest";
import { containerNameOf } from "#provider/docker/names.ts";
import { type Provider, StartError } from "#provider/provider.ts";
import { follow, inside, never, nextId, patience, reported, start } from "./follow.ts";
import { prepareDocker } from "./ground.ts";
import { specOf } from "./spec.ts";

const mib = 2 ** 20;

describe("docker provider", () => {
  it("hardens its containers, and inspecting them shows no token", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    const workerId = nextId();
    const resources = { cpuMillis: 500, memoryBytes: 64 * mib };
    const spec = specOf(workerId, { resources, tenant: "team", labels: { team: "a" } });
    const { uid } = await provider.startWorker(spec, never);
    await reported(ground, workerId);
    const info = await ground.docker.getContainer(uid).inspect();
    expect(JSON.stringify(info)).not.toContain(spec.otp);
    expect(info.HostConfig).toMatchObject({
      Init: true,
      Memory: (64 + 128) * mib,
      MemorySwap: (64 + 128) * mib,
      NanoCpus: 500_000_000,
      Privileged: false,
      ReadonlyRootfs: true,
    });
    const network = await ground.docker.getNetwork("hodei-test").inspect();
    expect(network.Options).toMatchObject({ "com.docker.network.bridge.enable_icc": "false" });
    expect(
      await inside(ground, workerId, "id -u; touch /x; touch /tmp/x ~/x && echo written"),
    ).toBe("1000\ntouch: cannot touch '/x': Read-only file system\nwritten\n");
    const status = await inside(ground, workerId, "grep -E 'CapEff|NoNewPrivs' /proc/self/status");
    expect(status).toBe("CapEff:\t0000000000000000\nNoNewPrivs:\t1\n");
    expect(await inside(ground, workerId, "cat /proc/1/comm")).toMatch(/init|tini/);
    await provider.stopWorker(workerId, 0);
  });

  it("says who must mend an image that is missing", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    const image = "localhost/no/such:1";
    expect(await failureOf(provider, { image })).toMatchObject({
      stage: "pulling",
      blame: "user",
      evidence: { reason: "ImageNotFound", image },
    });
    expect(await failureOf(provider, { image: "Not An Image" })).toMatchObject({ blame: "user" });
    await using other = await ground.openWith({ image });
    expect(await failureOf(other, {})).toMatchObject({ blame: "provider" });
    expect(await other.health()).toMatchObject({ state: "degraded" });
    expect(await provider.listWorkers()).toEqual([]);
  });

  it("asks a registry that does not answer more than once, and says so meanwhile", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ pullPolicy: "if_missing" });
    await using events = follow(provider);
    const workerId = nextId();
    // Nobody listens there.
    const starting = provider.startWorker(specOf(workerId, { image: "127.0.0.1:9/a/b:1" }), never);
    await expect(starting).rejects.toMatchObject({
      name: "StartError",
      failure: { blame: "provider", evidence: { reason: "RegistryUnavailable" } },
    });
    expect(events.messages(workerId)[0]).toBe("pulling image 127.0.0.1:9/a/b:1");
    const canPass = events.of(workerId).map((event) => event.kind === "failed" && event.canPass);
    expect(canPass.filter(Boolean)).toHaveLength(4);
  });

  it("an abort ends the wait for an image", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ pullPolicy: "always" });
    await using events = follow(provider);
    const workerId = nextId();
    const abort = new AbortController();
    const spec = specOf(workerId, { image: "127.0.0.1:9/a/b:1" });
    const starting = provider.startWorker(spec, abort.signal);
    await vi.waitFor(() => expect(events.of(workerId).at(-1)?.kind).toBe("failed"), patience);
    abort.abort();
    await expect(starting).rejects.toMatchObject({ name: "AbortError" });
  });

  it("after a restart a running worker is taken over by its name", async () => {
    await using ground = await prepareDocker();
    const old = await ground.openWith({});
    const { workerId, uid } = await start(old);
    await old[Symbol.asyncDispose]();
    await using provider = await ground.openWith({});
    expect(await provider.startWorker(specOf(workerId), never)).toEqual({ uid });
    await provider.stopWorker(workerId, 0);
    expect(await provider.confirmDead(workerId, uid)).toBe("dead");
  });

  it("replaces a container that was made and not started, since its token is lost", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    const { workerId, uid } = await start(provider);
    const { Config: config } = await ground.docker.getContainer(uid).inspect();
    await provider.stopWorker(workerId, 0);
    const left = await ground.docker.createContainer({
      name: containerNameOf(workerId),
      Image: ground.image,
      Labels: config.Labels,
    });
    const started = await provider.startWorker(specOf(workerId), never);
    expect(started.uid).not.toBe(left.id);
    expect(await provider.listWorkers()).toEqual([
      { id: workerId, uid: started.uid, isRunning: true },
    ]);
    await provider.stopWorker(workerId, 0);
  });

  it("leaves a container alone that has the name and is not ours", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    const workerId = nextId();
    const other = await ground.docker.createContainer({
      name: containerNameOf(workerId),
      Image: ground.image,
    });
    await expect(provider.startWorker(specOf(workerId), never)).rejects.toBeInstanceOf(StartError);
    await provider.stopWorker(workerId, 0);
    expect((await other.inspect()).Id).toBe(other.id);
    await other.remove();
  });

  it("refuses what is more than the engine has", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ gpus: 1, gpuType: "a100" });
    const refusal = (resources: object) =>
      provider.refusalOf(specOf(nextId(), { resources }).workerClass);
    expect(refusal({})).toBeUndefined();
    expect(refusal({ gpuCount: 1 })).toBeUndefined();
    expect(refusal({ gpuCount: 1, gpuType: "a100" })).toBeUndefined();
    expect(refusal({ gpuCount: 1, gpuType: "h100" })).toBe("its GPUs are a100");
    expect(refusal({ gpuCount: 2 })).toBe("it has 1 GPUs");
    expect(refusal({ cpuMillis: 10_000_000 })).toMatch(/^its engine has \d+ CPUs$/);
    expect(refusal({ memoryBytes: 2 ** 50 })).toMatch(/^its engine has \d+ MiB of memory$/);
  });

  it("learns from redeemed tokens how long a start takes", async () => {
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({});
    expect(provider.startEstimateMs()).toBe(3_000);
    const { workerId } = await start(provider);
    await provider.forgetToken?.(workerId);
    expect(provider.startEstimateMs()).not.toBe(3_000);
    await provider.stopWorker(workerId, 0);
  });
});

it("an engine that does not answer is unhealthy, starts nothing, and knows nothing", async () => {
  await using ground = await prepareDocker();
  await using provider = await ground.openWith({ host: "unix:///no/such/docker.sock" });
  expect(await provider.health()).toMatchObject({ state: "unhealthy" });
  expect(await failureOf(provider, {})).toMatchObject({
    blame: "provider",
    evidence: { reason: "Unreachable" },
  });
  expect(await provider.confirmDead(nextId(), "uid")).toBe("unknown");
  await expect(provider.listWorkers()).rejects.toThrow("ENOENT");
  await using events = follow(provider);
  expect(events.messages(nextId())).toEqual([]);
  expect(await provider.health()).toMatchObject({ state: "unhealthy" });
});

async function failureOf(provider: Provider, given: { readonly image?: string }): Promise<unknown> {
  const error: unknown = await provider
    .startWorker(specOf(nextId(), given), never)
    .catch((thrown: unknown) => thrown);
  return error instanceof StartError ? error.failure : error;
}
