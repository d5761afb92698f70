import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";

// Against a kubectl that writes down what it is asked; a real one is met by the end-to-end tests.

const script = join(import.meta.dirname, "../../deploy/kubernetes/install.sh");
const directory = mkdtempSync(join(tmpdir(), "hodei-install-"));
const calls = join(directory, "calls");
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const kubectl = `#!/bin/bash
echo "$*" >>${calls}
case "$*" in
  *current-context*) echo kind-test ;;
  *"get --raw"*) [[ -z $DOWN ]] || { echo "connection refused" >&2; exit 1; } ;;
  *"get secret"*) exit 1 ;;
  *"get namespace"*) echo "$MANAGED" ;;
  *"-f -"*) cat >>${calls} ;;
  *create*) cat >/dev/null ;;
esac
`;

interface Run {
  readonly code: number | null;
  readonly output: string;
  /** What kubectl was asked and given. */
  readonly asked: string;
}

function install(args: readonly string[], env: Record<string, string> = {}): Run {
  const bin = join(directory, "bin");
  mkdirSync(bin, { recursive: true });
  writeFileSync(join(bin, "kubectl"), kubectl);
  chmodSync(join(bin, "kubectl"), 0o755);
  writeFileSync(calls, "");
  const run = spawnSync("bash", [script, ...args], {
    encoding: "utf8",
    env: { PATH: `${bin}:/usr/bin:/bin`, DOWN: "", MANAGED: "", ...env },
  });
  const asked = readFileSync(calls, "utf8");
  return { code: run.status, output: run.stdout + run.stderr, asked };
}

const applied = /applying (\S+)\.yaml/g;

describe("install.sh", () => {
  test("says that kubectl is missing", () => {
    const empty = join(directory, "empty");
    mkdirSync(empty, { recursive: true });
    const run = spawnSync("/bin/bash", [script], { encoding: "utf8", env: { PATH: empty } });
    // Without coreutils the script's own folder is not found either.
    expect(run.status).not.toBe(0);
    const { status, stderr } = spawnSync(
      "/bin/bash",
      ["-c", `command() { [[ $* != "-v kubectl" ]]; }; . ${script}`],
      { encoding: "utf8", env: { PATH: "/usr/bin:/bin" } },
    );
    expect(status).toBe(1);
    expect(stderr).toContain("kubectl is not installed");
  });

  test("says that the cluster does not answer, and applies nothing", () => {
    const { code, output, asked } = install([], { DOWN: "1" });
    expect(code).toBe(1);
    expect(output).toContain("context kind-test");
    expect(output).toContain("the cluster does not answer: connection refused");
    expect(asked).not.toContain("apply");
  });

  test("applies everything in order, and says how to go on", () => {
    const { code, output, asked } = install([]);
    expect(output).toContain("server namespace hodei-system, worker namespace hodei-jobs-workers");
    expect([...output.matchAll(applied)].map(([, name]) => name)).toEqual([
      "namespace",
      "rbac",
      "network-policy",
      "configmap",
      "server",
    ]);
    expect(asked).toContain("create secret generic hodei-admin-token --from-file=token=/dev/stdin");
    expect(asked).toContain("rollout status deployment/hodei-server");
    expect(code).toBe(0);
  });

  test("puts other images and another context in", () => {
    const images = ["--server-image", "example.org/s:1", "--worker-image", "example.org/w:1"];
    const { asked } = install([...images, "--context", "prod"]);
    expect(asked).toContain("image: example.org/s:1\n");
    expect(asked).toContain("HODEI_WORKER_IMAGE: example.org/w:1\n");
    expect(asked).not.toMatch(/image: hodei-jobs-server/i);
    expect(asked.match(/^--context prod/gm)?.length).toBeGreaterThan(5);
  });

  test("installs the names of the first deployments for a server elsewhere", () => {
    const { output, asked } = install(["--profile", "legacy", "--without-server"]);
    expect(output).toContain("HODEI_K8S_ENABLED=1");
    expect(output).toContain("HODEI_K8S_NAMESPACE=hodei-workers");
    expect(asked).toContain("name: hodei-workers\n");
    expect(asked).not.toContain("kind: Deployment");
  });

  test("installs several servers over a Redis whose address it is given by variable", () => {
    const url = "redis://:hunter2@redis.example.org:6379";
    const { code, output, asked } = install(["--store", "redis", "--replicas", "3"], {
      HODEI_REDIS_URL: url,
    });
    expect(code).toBe(0);
    expect(asked).toContain("\n  replicas: 3\n");
    expect(asked).toContain("create secret generic hodei-redis --from-file=url=/dev/stdin");
    expect(asked).toContain(
      "create secret generic hodei-encryption-key --from-file=key=/dev/stdin",
    );
    expect(asked).not.toContain("PersistentVolumeClaim");
    expect(output + asked).not.toContain("hunter2");
  });

  test.for([
    [["--store", "redis"], "HODEI_REDIS_URL"],
    [["--replicas", "2"], "--replicas needs --store redis"],
    [["--store", "redis", "--replicas", "many"], "many is not between 1 and 99"],
    [["--store", "other"], "neither embedded nor redis"],
  ] as const)("refuses %j, and applies nothing", ([args, complaint]) => {
    const { code, output, asked } = install(args);
    expect(code).toBe(1);
    expect(output).toContain(complaint);
    expect(asked).not.toContain("apply");
  });

  test("changes nothing in a dry run", () => {
    for (const args of [["--dry-run"], ["--uninstall", "--dry-run"]]) {
      const { code, output, asked } = install(args, { MANAGED: "true" });
      expect(code).toBe(0);
      expect(output).toContain("would");
      const writes = asked.match(/^.*\b(apply|create|delete)\b.*$/gm) ?? [];
      const commands = writes.filter((line) => /^(apply|create|delete|-n)/.test(line));
      expect(commands.filter((line) => !line.includes("--dry-run=client"))).toEqual([]);
    }
  });

  test("deletes a worker namespace only if it is ours", () => {
    expect(install(["--uninstall"], { MANAGED: "true" }).asked).toMatch(
      /delete .*namespace hodei-jobs-workers/,
    );
    const foreign = install(["--uninstall"], { MANAGED: "" });
    expect(foreign.asked).not.toMatch(/delete .*namespace hodei-jobs-workers/);
    expect(foreign.output).toContain("left as it is");
  });

  test("keeps the server's volume and token if it is told to", () => {
    const { asked } = install(["--uninstall", "--keep-data"]);
    expect(asked).not.toMatch(/delete .*namespace hodei-system/);
    expect(asked).not.toMatch(/delete.*(persistentvolumeclaim|pvc|secret)/);
  });

  test.for([
    [["--profile", "new"], "new is neither standard nor legacy"],
    [["--profile"], "--profile needs a value"],
    [["--fast"], "unknown option --fast"],
  ] as const)("refuses %j", ([args, complaint]) => {
    const { code, output } = install(args);
    expect(code).toBe(1);
    expect(output).toContain(complaint);
  });
});
