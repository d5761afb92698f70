import { describe, expect, test } from "vitest";
import type { Diagnosis, HealthCheck, ManifestWish } from "#cli/host.ts";
import { HodeiError } from "#error.ts";
import { diagnoseServer } from "../../src/server-doctor.ts";
import { manifestsOf } from "../../src/server-manifests.ts";
import { FakeUser } from "./host.ts";

describe("hodei manifests", () => {
  const user = () =>
    new FakeUser({
      host: { readManifests: async (wish: ManifestWish) => manifestsOf({}, wish) },
    });

  test("prints everything, some groups, or all but some", async () => {
    const all = user();
    expect(await all.run("manifests")).toBe(0);
    expect(all.stdout.text).toContain("kind: Deployment");
    expect(all.stdout.text).toContain("kind: PrometheusRule");
    const one = user();
    expect(await one.run("manifests", "--only", "rbac", "--profile", "legacy")).toBe(0);
    expect(one.stdout.text).toContain("name: hodei-provider");
    expect(one.stdout.text).not.toContain("kind: Deployment");
    const most = user();
    expect(await most.run("manifests", "--without", "monitoring,rbac")).toBe(0);
    expect(most.stdout.text).toContain("kind: Deployment");
    expect(most.stdout.text).not.toMatch(/kind: (PrometheusRule|ClusterRole)$/m);
  });

  test("puts the names and images in", async () => {
    const one = user();
    const names = ["--namespace", "jobs", "--server-namespace", "control"];
    const images = ["--image", "example.org/w:2", "--server-image", "example.org/s:2"];
    expect(await one.run("manifests", ...names, ...images)).toBe(0);
    expect(one.stdout.text).toContain("value: hodei-server.control.svc:50051");
    expect(one.stdout.text).toContain("HODEI_K8S_NAMESPACE: jobs");
    expect(one.stdout.text).toContain("HODEI_WORKER_IMAGE: example.org/w:2");
    expect(one.stdout.text).toContain("image: example.org/s:2");
    expect(one.stdout.text).not.toMatch(/namespace: hodei-(system|jobs-workers)/);
  });

  test("prints objects for a program", async () => {
    const one = user();
    expect(await one.run("manifests", "--only", "configmap", "-o", "json")).toBe(0);
    expect(JSON.parse(one.stdout.text)).toMatchObject({
      groups: ["configmap"],
      objects: [{ kind: "ConfigMap" }],
    });
  });

  test.for([
    [["--only", "rbac,all"], '--only: "all" is none of namespace, rbac'],
    [["--without", "all"], '--without: "all" is none of namespace, rbac'],
    [["--only", "rbac", "--without", "rbac"], "--without: nothing is left to print"],
    [["--namespace", "Not_A_Name"], "HODEI_K8S_NAMESPACE: "],
    [["--hpa"], "use --store redis with --hpa"],
  ] as const)("refuses %j", async ([args, complaint]) => {
    const one = user();
    expect(await one.run("manifests", ...args)).toBe(64);
    expect(one.stderr.text).toContain(complaint);
    expect(one.stdout.text).toBe("");
  });
});

describe("hodei doctor", () => {
  const check = (ok: HealthCheck["ok"]): HealthCheck => ({
    name: `a ${ok}`,
    ok,
    message: "what was seen",
    hint: "what to do",
  });
  const after = (diagnosis: Diagnosis) =>
    new FakeUser({ host: { diagnose: () => Promise.resolve(diagnosis) } });

  test.for([
    [["pass", "warn"], true, 0],
    [["pass", "fail"], true, 1],
    [["pass", "fail"], false, 69],
  ] as const)(
    "for %j ends, where the cluster answers: %j, with %j",
    async ([oks, isReachable, code]) => {
      const user = after({ checks: oks.map(check), isReachable });
      expect(await user.run("doctor")).toBe(code);
      expect(user.stdout.text).toMatch(/^pass +a pass +what was seen$/m);
      // Nothing has to be done about what passes.
      expect(user.stdout.text.match(/hint: what to do/g)).toHaveLength(1);
    },
  );

  test("prints an object for a program", async () => {
    const user = after({ checks: [check("fail")], isReachable: true });
    expect(await user.run("doctor", "-o", "json")).toBe(1);
    expect(JSON.parse(user.stdout.text)).toMatchObject({ ok: false, checks: [{ ok: "fail" }] });
  });
});

describe("the doctor", () => {
  const ask = (env: Record<string, string>, readFile = () => Promise.resolve(undefined)) =>
    diagnoseServer({ env, readFile });
  const bad = ({ checks }: Diagnosis) => checks.filter(({ ok }) => ok !== "pass");

  test("finds nothing wrong with the defaults", async () => {
    expect(bad(await ask({}))).toEqual([]);
  });

  test("names a wrong setting and an unknown one", async () => {
    const wrong = bad(await ask({ HODEI_RENEW_INTERVAL_MS: "soon" }));
    expect(wrong).toMatchObject([{ name: "settings", ok: "fail" }]);
    expect(wrong[0]?.message).toContain("HODEI_RENEW_INTERVAL_MS");
    const unknown = bad(await ask({ HODEI_RENEW_INTERVALL: "1" }));
    expect(unknown).toMatchObject([{ name: "settings", ok: "warn" }]);
  });

  test("says that the configuration file cannot be read", async () => {
    const error = new HodeiError("invalid_argument", "HODEI_CONFIG_FILE: cannot read /x");
    const found = bad(await ask({}, () => Promise.reject(error)));
    expect(found).toMatchObject([{ ok: "fail", message: "HODEI_CONFIG_FILE: cannot read /x" }]);
  });

  test("says that a data directory cannot be made", async () => {
    const found = bad(await ask({ HODEI_DATA_DIRECTORY: "/proc/1/nowhere" }));
    expect(found).toMatchObject([{ name: "data directory", ok: "fail" }]);
  });

  test("looks at the address of every replica", async () => {
    const env = { HODEI_SERVER_ADDRESS: "192.0.2.10:50051, [2001:db8::1]:50052,nowhere.invalid:1" };
    const { checks } = await ask(env);
    const found = checks.filter(({ name }) => name === "server address");
    expect(found.map(({ ok }) => ok)).toEqual(["pass", "pass", "fail"]);
    expect(found[2]?.message).toBe("nowhere.invalid is not known here");
  });

  test("says that no pod reaches a server on loopback, and that there is no API server", async () => {
    const env = { HODEI_K8S_ENABLED: "1", HODEI_K8S_KUBECONFIG: "/nowhere/config" };
    const diagnosis = await ask(env);
    expect(diagnosis.isReachable).toBe(false);
    expect(bad(diagnosis).map(({ name }) => name)).toEqual(["server address", "api server"]);
  });
});
