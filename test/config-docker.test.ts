import { describe, expect, it, test } from "vitest";
import { parseConfig } from "#config.ts";
import { defaultDockerConfig } from "#provider/docker/config.ts";
import { openEngine } from "#provider/docker/engine.ts";
import { dockerConfigOf } from "#server-docker.ts";

const configOf = (env: Readonly<Record<string, string>>) => dockerConfigOf(parseConfig(env).config);

describe("the settings of the Docker provider", () => {
  it("have the provider's own defaults, and are off", () => {
    expect(configOf({})).toEqual(defaultDockerConfig);
    expect(parseConfig({}).config.dockerEnabled).toBe(false);
  });

  it("take the engine from the variables that Docker's own tools read, unless told otherwise", () => {
    const docker = { DOCKER_HOST: "tcp://engine:2376", DOCKER_CERT_PATH: "/certs" };
    expect(configOf(docker)).toMatchObject({ host: "tcp://engine:2376", certDirectory: "/certs" });
    const own = { ...docker, HODEI_DOCKER_HOST: "unix:///run/docker.sock" };
    expect(configOf(own).host).toBe("unix:///run/docker.sock");
  });

  it("share the image with pods", () => {
    expect(configOf({ HODEI_WORKER_IMAGE: "registry.example.org/worker:2" }).image).toBe(
      "registry.example.org/worker:2",
    );
  });

  test.for(["host", "none", "bridge", "container:other", ""])("refuse the network '%s'", (name) => {
    expect(() => parseConfig({ HODEI_DOCKER_NETWORK: name })).toThrow("HODEI_DOCKER_NETWORK: ");
  });

  test.for(["ssh://engine", "nonsense", "tcp://"])("refuse the engine '%s'", (host) => {
    expect(() => openEngine(configOf({ HODEI_DOCKER_HOST: host }))).toThrow(
      "is no address of a Docker engine",
    );
  });

  it("refuse certificates that cannot be read", () => {
    const config = configOf({ HODEI_DOCKER_CERT_DIRECTORY: "/no/such" });
    expect(() => openEngine(config)).toThrow("cannot read /no/such/ca.pem");
  });
});
