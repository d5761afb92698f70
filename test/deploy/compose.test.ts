import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parseDocument } from "yaml";
import { configTable, parseConfig } from "#config.ts";

// What the compose file says, as far as it can be read; running it needs an engine and its images.

const folder = join(import.meta.dirname, "../../deploy/compose");
const text = readFileSync(join(folder, "compose.yaml"), "utf8");

interface Service {
  readonly image: string;
  readonly hostname?: string;
  readonly command?: string;
  readonly build?: {
    readonly context: string;
    readonly dockerfile: string;
    readonly args: Readonly<Record<string, string>>;
  };
  readonly environment?: Readonly<Record<string, string>>;
  readonly networks?: readonly string[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly depends_on?: Readonly<Record<string, unknown>>;
  readonly healthcheck?: { readonly test: readonly unknown[] };
  readonly profiles?: readonly string[];
}

interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, { readonly name?: string }>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** As compose puts variables in: `${NAME:-default}` and `${NAME:?complaint}`. */
function load(given: Readonly<Record<string, string>>): Compose {
  const put = text.replaceAll(/\$\{(\w+)(?::([-?])([^}]*))?\}/g, (_, name: string, kind, rest) => {
    const value = given[name] ?? (kind === "-" ? String(rest) : "");
    if (value === "" && kind === "?") throw new Error(`${name}: ${rest}`);
    return value;
  });
  return parseDocument(put, { merge: true }).toJS() as Compose;
}

const secrets = {
  HODEI_ADMIN_TOKEN: "a-token-of-the-first-admin",
  HODEI_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString("base64"),
  HODEI_S3_SECRET_ACCESS_KEY: "a-secret",
  DOCKER_GID: "999",
};

const { services, networks, volumes } = load(secrets);
const servers = Object.entries(services).filter(([name]) => name.startsWith("server-"));

describe("the compose file", () => {
  test("wants its secrets, and has none of its own", () => {
    expect(() => load({})).toThrow(/run prepare\.sh first/);
    const kept = /(?:TOKEN|_KEY|PASSWORD): (?!\$\{)(\S+)/.exec(text);
    expect(kept).toBeNull();
  });

  test("configures several servers that mean the same, with settings that there are", () => {
    expect(servers.length).toBeGreaterThan(1);
    const known = new Set(configTable().map(({ name }) => name));
    for (const [, { environment = {} }] of servers) {
      expect(environment).toEqual(servers[0]?.[1].environment);
      expect(Object.keys(environment).filter((name) => !known.has(name))).toEqual([]);
      const { config, warnings } = parseConfig(environment);
      expect(warnings).toEqual([]);
      expect(config).toMatchObject({ store: "redis", dockerEnabled: true, tlsAuto: true });
    }
  });

  test("gives agents and certificates the names that the servers have", () => {
    const { environment = {} } = servers[0]?.[1] ?? {};
    const hosts = environment["HODEI_SERVER_ADDRESS"]?.split(",").map((one) => one.split(":")[0]);
    expect(hosts).toEqual(servers.map(([name]) => name));
    const names = environment["HODEI_TLS_AUTO_NAMES"]?.split(",");
    for (const [name, { hostname }] of servers) {
      expect(hostname).toBe(name);
      expect(names).toContain(name);
    }
    expect(names).toContain("localhost");
  });

  test("gives every server a port of its own, on this machine alone", () => {
    const published = servers.flatMap(([, { ports = [] }]) => ports);
    expect(published.every((port) => port.startsWith("127.0.0.1:"))).toBe(true);
    expect(new Set(published).size).toBe(published.length);
    expect(readFileSync(join(folder, "../../justfile"), "utf8")).toContain(
      "HODEI_SERVER=localhost:50051,localhost:50052",
    );
  });

  test("keeps Redis and the bucket from the network of workers, which is the servers' own", () => {
    const { environment = {} } = servers[0]?.[1] ?? {};
    expect(networks["workers"]?.name).toBe(environment["HODEI_DOCKER_NETWORK"]);
    for (const [, server] of servers) expect(server.networks).toContain("workers");
    for (const name of ["redis", "s3"]) expect(services[name]?.networks).toEqual(["state"]);
  });

  test("has a Redis that loses nothing, and keeps it on a volume", () => {
    const command = services["redis"]?.command;
    expect(command).toContain("--appendonly yes --appendfsync always");
    expect(command).toContain("--maxmemory-policy noeviction");
    const named = Object.values(services)
      .flatMap((service) => service.volumes ?? [])
      .map((volume) => volume.split(":")[0] ?? "")
      .filter((name) => !name.startsWith("/"));
    expect(named.toSorted()).toEqual(Object.keys(volumes).toSorted());
  });

  test("names only services and networks that it has", () => {
    for (const { depends_on = {}, networks: on = [] } of Object.values(services)) {
      for (const name of Object.keys(depends_on)) expect(services).toHaveProperty(name);
      for (const name of on) expect(networks).toHaveProperty(name);
    }
  });

  test("asks servers whether they are ready, in words that are words", () => {
    for (const [, { healthcheck }] of servers) {
      expect(healthcheck?.test.map((word) => typeof word)).toEqual(
        ["CMD", "node", "-e", "script"].map(() => "string"),
      );
      expect(healthcheck?.test.at(-1)).toContain("/health/ready");
    }
  });

  test("builds images with arguments that they take", () => {
    const built = Object.values(services).flatMap(({ build }) => build ?? []);
    expect(built.length).toBeGreaterThan(2);
    for (const { context, dockerfile, args } of built) {
      const file = readFileSync(join(resolve(folder, context), dockerfile), "utf8");
      for (const name of Object.keys(args)) expect(file).toMatch(new RegExp(`^ARG ${name}=`, "m"));
    }
  });
});

describe("prepare.sh", () => {
  test("makes secrets once, for the owner's eyes alone, and says that there is no engine", async () => {
    const copy = mkdtempSync(join(tmpdir(), "hodei-compose-"));
    const socket = join(copy, "docker.sock");
    const listener = createServer();
    try {
      copyFileSync(join(folder, "prepare.sh"), join(copy, "prepare.sh"));
      const run = (DOCKER_SOCKET: string) =>
        spawnSync("bash", [join(copy, "prepare.sh")], {
          encoding: "utf8",
          env: { PATH: "/usr/bin:/bin", DOCKER_SOCKET },
        });
      const missing = run(join(copy, "nothing"));
      expect(missing.status).toBe(69);
      expect(missing.stderr).toContain("no Docker Engine at");
      expect(existsSync(join(copy, ".env"))).toBe(false);
      await new Promise<void>((done) => listener.listen(socket, done));
      expect(run(socket).status).toBe(0);
      const first = readFileSync(join(copy, ".env"), "utf8");
      expect(statSync(join(copy, ".env")).mode & 0o077).toBe(0);
      const made = Object.fromEntries(
        first
          .trim()
          .split("\n")
          .map((line) => {
            const at = line.indexOf("=");
            return [line.slice(0, at), line.slice(at + 1)];
          }),
      );
      expect(Object.keys(made)).toEqual(expect.arrayContaining(Object.keys(secrets)));
      const [, server] =
        Object.entries(load(made).services).find(([name]) => name === "server-1") ?? [];
      expect(parseConfig(server?.environment ?? {}).warnings).toEqual([]);
      expect(run(socket).status).toBe(0);
      expect(readFileSync(join(copy, ".env"), "utf8")).toBe(first);
    } finally {
      listener.close();
      rmSync(copy, { recursive: true });
    }
  });
});
