import { ServerCredentials } from "@grpc/grpc-js";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { beforeAll, describe, expect, it } from "vitest";
import { dialledBy, engineHost } from "#provider/docker/container.ts";
import { defaultDockerConfig } from "#provider/docker/config.ts";
import { createKey, issueAuthority, issueServer } from "#rpc/ca-issue.ts";
import { Cause } from "#rpc/gen/hodei/v1/job.ts";
import { sh } from "../../agent/agent-process.ts";
import { workerImage } from "../../fake/docker-image.ts";
import { ScriptedServer } from "../../fake/server.ts";
import { follow, never, nextId } from "./follow.ts";
import { prepareDocker } from "./ground.ts";
import { specOf } from "./spec.ts";

let image: string;

beforeAll(async () => {
  image = await workerImage();
}, 600_000);

const mib = 2 ** 20;

describe("the agent in a container", () => {
  it("takes its token from its input, finds the server over TLS, and runs jobs", async () => {
    const { ca, credentials } = await certified();
    await using server = await ScriptedServer.open({}, credentials);
    await using door = await openDoor(server.address);
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ image, serverAddress: "" });
    await using events = follow(provider);
    const spec = specOf(nextId(), {
      serverAddress: door.address,
      serverCa: ca,
      resources: { memoryBytes: 64 * mib },
    });
    await provider.startWorker(spec, never);
    await server.connected();
    expect(server.redeems).toMatchObject([{ workerId: spec.workerId, otp: spec.otp }]);

    server.assign(
      "a1",
      sh("id -u; env | grep -c ^HODEI_OTP; echo '#!/bin/sh' > x; chmod +x x; ./x"),
    );
    expect(await server.result("a1")).toMatchObject({ exitCode: 0 });
    expect(server.output("a1").toString()).toBe("1000\n0\n");

    // The job is killed and not the agent, which then says why.
    server.assign("a2", sh("head -c 400m /dev/zero | tail"));
    expect(await server.result("a2")).toMatchObject({
      failure: { cause: Cause.CAUSE_OUT_OF_MEMORY },
    });

    await provider.stopWorker(spec.workerId, 10_000);
    expect((await events.gone(spec.workerId)).failure).toBeUndefined();
  });

  it("is over by itself when its time is, though no server and no agent does anything", async () => {
    await using server = await ScriptedServer.open();
    await using door = await openDoor(server.address);
    await using ground = await prepareDocker();
    const spec = specOf(nextId(), { serverAddress: door.address, maxLifetimeMs: 1 });
    const provider = await ground.openWith({ image, serverAddress: "" });
    const { uid } = await provider.startWorker(spec, never);
    await provider[Symbol.asyncDispose]();
    await server.connected();
    server.assign("a1", sh("kill -STOP $PPID; sleep 600"));
    const container = ground.docker.getContainer(uid);
    const { StatusCode: code } = (await container.wait()) as { StatusCode: number };
    // Of the kill that follows the polite signal, to which a stopped agent is deaf.
    expect(code).toBe(137);
    expect((await container.inspect()).State.Running).toBe(false);
  });

  it("ends with the reason in its log when the server refuses its token", async () => {
    await using server = await ScriptedServer.open({ redeem: ["refuse"] });
    await using door = await openDoor(server.address);
    await using ground = await prepareDocker();
    await using provider = await ground.openWith({ image, serverAddress: "" });
    await using events = follow(provider);
    const spec = specOf(nextId(), { serverAddress: door.address });
    await provider.startWorker(spec, never);
    const { failure } = await events.gone(spec.workerId);
    expect(failure).toMatchObject({ cause: "start_failed", evidence: { exit_code: "77" } });
    expect(failure?.evidence["output"]).toContain("the server refused the one-time token");
    expect(failure?.evidence["output"]).not.toContain(spec.otp);
  });
});

/** A server's certificate for the name by which containers find their host. */
async function certified(): Promise<{ ca: string; credentials: ServerCredentials }> {
  const validity = { notBefore: Date.now() - 60_000, notAfter: Date.now() + 3_600_000 };
  const authority = await issueAuthority("test", validity);
  const key = await createKey();
  const certificate = await issueServer(authority, key, { names: [engineHost], validity });
  const pair = { private_key: Buffer.from(key), cert_chain: Buffer.from(certificate) };
  return { ca: authority.certificate, credentials: ServerCredentials.createSsl(null, [pair]) };
}

/** Makes a server that listens on loopback answer on every address; gives the loopback one, as a server gives it to its providers. */
async function openDoor(target: string): Promise<AsyncDisposable & { readonly address: string }> {
  const port = Number(target.split(":")[1]);
  const door = createServer((socket) => {
    const inner = connect(port, "127.0.0.1");
    socket.on("error", () => inner.destroy());
    inner.on("error", () => socket.destroy());
    socket.pipe(inner).pipe(socket);
  });
  door.listen(0, "0.0.0.0");
  await once(door, "listening");
  const address = `127.0.0.1:${(door.address() as AddressInfo).port}`;
  expect(dialledBy(defaultDockerConfig, address)).toContain(engineHost);
  return { address, [Symbol.asyncDispose]: async () => void door.close() };
}
