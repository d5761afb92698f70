import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openConnection } from "#provider/kubernetes/connection.ts";
import { loadKubeConfig } from "#provider/kubernetes/credentials.ts";
import { describeDenial, KubeError } from "#provider/kubernetes/kube-error.ts";
import { kubeconfig, refuse, reply, silent, startTinyApi } from "./ground-server.ts";

const pods = "/api/v1/namespaces/a/pods";

async function errorFrom(promise: Promise<unknown>): Promise<KubeError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof KubeError)) throw new Error("no KubeError was thrown", { cause: error });
  return error;
}

test("a write is validated strictly and carries the token", async () => {
  await using api = await startTinyApi((seen, response) => reply(response, 201, seen.body));
  const connection = await api.connect();
  const made = await connection.request({ method: "POST", path: pods, body: { kind: "Pod" } });
  expect(made).toEqual({ kind: "Pod" });
  expect(api.seen[0]?.query.get("fieldValidation")).toBe("Strict");
  expect(api.seen[0]?.headers.authorization).toBe("Bearer t-1");
  expect(connection.calls).toBe(1);
});

test("a path in the server's address stands before every call's", async () => {
  await using api = await startTinyApi((seen, response) => reply(response, 200, seen.path));
  const file = join(api.directory, "rancher");
  await writeFile(file, kubeconfig({ server: `${api.url}/k8s/clusters/c-1/` }));
  const connection = await api.connect({ kubeconfigPath: file });
  await expect(connection.request({ method: "GET", path: "/version" })).resolves.toBe(
    "/k8s/clusters/c-1/version",
  );
});

test("a read is repeated until the server is ready", async () => {
  const answers = [503, 429, 504, 200];
  await using api = await startTinyApi((_, response) => {
    const status = answers.shift() ?? 500;
    if (status === 200) reply(response, 200, { kind: "PodList" });
    else refuse(response, status);
  });
  const connection = await api.connect();
  await expect(connection.request({ method: "GET", path: pods })).resolves.toEqual({
    kind: "PodList",
  });
  expect(connection.calls).toBe(4);
});

test("a create that was told to wait is made again after that long", async () => {
  let isFirst = true;
  await using api = await startTinyApi((_, response) => {
    if (isFirst) response.setHeader("retry-after", "0");
    if (isFirst) refuse(response, 429, { reason: "TooManyRequests" });
    else reply(response, 201, {});
    isFirst = false;
  });
  const connection = await api.connect();
  await connection.request({ method: "POST", path: pods, body: {} });
  expect(api.seen).toHaveLength(2);
});

test("a server that asks for minutes is not waited for", async () => {
  await using api = await startTinyApi((_, response) => {
    response.setHeader("retry-after", "600");
    refuse(response, 429);
  });
  const connection = await api.connect();
  const error = await errorFrom(connection.request({ method: "GET", path: pods }));
  expect(error).toMatchObject({ status: 429, retryAfterMs: 600_000 });
  expect(api.seen).toHaveLength(1);
});

test("a create without an answer is not repeated, and its outcome is unknown", async () => {
  await using api = await startTinyApi((_, response) => {
    response.socket?.destroy();
  });
  const connection = await api.connect();
  const error = await errorFrom(connection.request({ method: "POST", path: pods, body: {} }));
  expect(error).toMatchObject({ status: 0, isOutcomeUnknown: true });
  expect(api.seen).toHaveLength(1);
});

test("a delete without an answer is repeated", async () => {
  let count = 0;
  await using api = await startTinyApi((_, response) => {
    if (++count === 1) response.socket?.destroy();
    else reply(response, 200, { kind: "Status", status: "Success" });
  });
  const connection = await api.connect();
  await connection.request({ method: "DELETE", path: `${pods}/x` });
  expect(count).toBe(2);
});

test("a server that is not there is said to be, and nothing is unknown", async () => {
  await using api = await startTinyApi((_, response) => reply(response, 200, {}));
  const file = join(api.directory, "nowhere");
  await writeFile(file, kubeconfig({ server: "http://127.0.0.1:1" }));
  const connection = await api.connect({ kubeconfigPath: file });
  const error = await errorFrom(
    connection.request({ method: "POST", path: pods, body: {}, retry: false }),
  );
  expect(error).toMatchObject({ status: 0, reason: "ECONNREFUSED", isOutcomeUnknown: false });
});

test("a silent server ends the call at its time-out", async () => {
  await using api = await startTinyApi(() => undefined);
  const connection = await api.connect();
  const error = await errorFrom(
    connection.request({ method: "GET", path: pods, timeoutMs: 50, retry: false }),
  );
  expect(error).toMatchObject({ status: 0, reason: "UND_ERR_HEADERS_TIMEOUT" });
});

test("a call that is not answered is not repeated after its time-out", async () => {
  await using api = await startTinyApi(() => undefined);
  const connection = await api.connect();
  const error = await errorFrom(connection.request({ method: "GET", path: pods, timeoutMs: 50 }));
  expect(error).toMatchObject({ status: 0, reason: "UND_ERR_HEADERS_TIMEOUT" });
  expect(connection.calls).toBe(1);
});

test("a connection that is about to end gives up what is not answered, and repeats nothing", async () => {
  await using api = await startTinyApi((seen, response) => {
    if (seen.path !== pods) refuse(response, 503);
  });
  const connection = await api.connect();
  const silentCall = errorFrom(connection.request({ method: "GET", path: pods }));
  await expect.poll(() => api.seen.length).toBe(1);
  connection.endWithin(0);
  expect(await silentCall).toMatchObject({ status: 0, isOutcomeUnknown: false });
  expect(connection.calls).toBe(1);
});

test("a missing right is named", async () => {
  const message =
    'pods is forbidden: User "system:serviceaccount:rec:default" cannot create resource "pods" in API group "" in the namespace "rec"';
  await using api = await startTinyApi((_, response) =>
    refuse(response, 403, { reason: "Forbidden", message, details: { kind: "pods" } }),
  );
  const connection = await api.connect();
  const error = await errorFrom(connection.request({ method: "POST", path: pods, body: {} }));
  expect(error.denial).toEqual({
    verb: "create",
    resource: "pods",
    apiGroup: "",
    namespace: "rec",
  });
  expect(error.denial && describeDenial(error.denial)).toBe("create pods in namespace rec");
  expect(error.message).toBe(`POST ${pods}: ${message}`);
});

test("a missing right in the whole cluster is named", () => {
  const message =
    'roles.rbac.authorization.k8s.io is forbidden: User "u" cannot patch resource "roles" in API group "rbac.authorization.k8s.io" at the cluster scope';
  const { denial } = new KubeError({ call: "GET /", status: 403, message });
  expect(denial && describeDenial(denial)).toBe(
    "patch roles.rbac.authorization.k8s.io in the whole cluster",
  );
});

test("a terminating namespace is no missing right", () => {
  const message =
    'pods "x" is forbidden: unable to create new content in namespace rec-applied because it is being terminated';
  const details = { causes: [{ reason: "NamespaceTerminating" }] };
  const error = new KubeError({ call: "POST /", status: 403, message, details });
  expect(error.isNamespaceTerminating).toBe(true);
  expect(error.denial).toBeUndefined();
});

test("a refused token is read again once", async () => {
  await using api = await startTinyApi((seen, response) => {
    if (seen.headers.authorization === "Bearer t-2") reply(response, 200, {});
    else refuse(response, 401, { reason: "Unauthorized" });
  });
  const connection = await api.connect();
  const file = api.config.kubeconfigPath ?? "";
  const refused = await errorFrom(connection.request({ method: "GET", path: pods }));
  expect(refused.status).toBe(401);
  expect(api.seen).toHaveLength(2);
  await writeFile(file, kubeconfig({ server: api.url, user: { token: "t-2" } }));
  const answers = await Promise.all(
    [1, 2, 3].map(() => connection.request({ method: "GET", path: pods })),
  );
  expect(answers).toEqual([{}, {}, {}]);
});

test("an exec plugin gives the token, and is asked again when it is refused", async () => {
  await using api = await startTinyApi((seen, response) => {
    if (seen.headers.authorization === "Bearer plug-2") reply(response, 200, {});
    else refuse(response, 401);
  });
  const plugin = join(api.directory, "plugin");
  const count = join(api.directory, "count");
  await writeFile(
    plugin,
    `#!/bin/sh\necho x >> ${count}\nn=$(wc -l < ${count})\necho '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"plug-'$((n))'"}}'\n`,
  );
  await chmod(plugin, 0o755);
  const file = join(api.directory, "exec");
  const exec = { apiVersion: "client.authentication.k8s.io/v1", command: plugin, args: [] };
  await writeFile(file, kubeconfig({ server: api.url, user: { exec } }));
  const connection = await api.connect({ kubeconfigPath: file });
  await connection.request({ method: "GET", path: pods });
  expect(api.seen.map(({ headers }) => headers.authorization)).toEqual([
    "Bearer plug-1",
    "Bearer plug-2",
  ]);
});

test("a watch gives whole lines, however they are cut", async () => {
  await using api = await startTinyApi(async (_, response) => {
    for (const part of ['{"a":', '1}\n{"b"', ':"', Buffer.from("é").subarray(0, 1)]) {
      await new Promise((resolve) => response.write(part, resolve));
    }
    response.end(Buffer.concat([Buffer.from("é").subarray(1), Buffer.from('"}\n')]));
  });
  const connection = await api.connect();
  const seen: string[] = [];
  const signal = new AbortController().signal;
  for await (const line of await connection.stream({ path: pods, query: { watch: "1" }, signal })) {
    seen.push(line);
  }
  expect(seen).toEqual(['{"a":1}', '{"b":"é"}']);
  expect(connection.calls).toBe(0);
});

test("a watch ends with its signal, and with an error where nothing comes any more", async () => {
  await using api = await startTinyApi((_, response) => void response.write('{"a":1}\n'));
  const connection = await api.connect({ watchIdleTimeoutMs: 100 });
  const stop = new AbortController();
  for await (const _ of await connection.stream({ path: pods, signal: stop.signal })) stop.abort();
  const read = async (): Promise<void> => {
    const { signal } = new AbortController();
    for await (const _ of await connection.stream({ path: pods, signal }));
  };
  expect(await errorFrom(read())).toMatchObject({ status: 0, reason: "UND_ERR_BODY_TIMEOUT" });
});

test("a watch that is refused rejects at once", async () => {
  await using api = await startTinyApi((_, response) =>
    refuse(response, 410, { reason: "Expired" }),
  );
  const connection = await api.connect();
  const { signal } = new AbortController();
  expect(await errorFrom(connection.stream({ path: pods, signal }))).toMatchObject({ status: 410 });
});

test.for([
  ["plain HTTP to another machine", { server: "http://192.0.2.1:8080" }, "plain HTTP"],
  [
    "TLS without verification",
    { server: "https://192.0.2.1:6443", cluster: { "insecure-skip-tls-verify": true } },
    "insecure-skip-tls-verify",
  ],
] as const)("%s is refused unless it is allowed", async ([, given, words]) => {
  await using api = await startTinyApi((_, response) => reply(response, 200, {}));
  const kubeconfigPath = join(api.directory, "insecure");
  await writeFile(kubeconfigPath, kubeconfig(given));
  await expect(api.connect({ kubeconfigPath })).rejects.toThrow(words);
  await expect(api.connect({ kubeconfigPath, allowInsecure: true })).resolves.toBeDefined();
});

test("an unknown context is named with those that exist", async () => {
  await using api = await startTinyApi((_, response) => reply(response, 200, {}));
  await expect(api.connect({ context: "b" })).rejects.toThrow(
    "Kubernetes context b is not in the kubeconfig; it has: a",
  );
});

test("the kubeconfig is the configured file, then KUBECONFIG, then the home directory's", async () => {
  await using api = await startTinyApi((_, response) => reply(response, 200, {}));
  const home = join(api.directory, "home");
  await mkdir(join(home, ".kube"), { recursive: true });
  const at = async (file: string, name: string): Promise<string> => {
    await writeFile(file, kubeconfig({ server: api.url, name }));
    return file;
  };
  await at(join(home, ".kube/config"), "home");
  const first = await at(join(api.directory, "1"), "env-1");
  const second = await at(join(api.directory, "2"), "env-2");
  const kubeconfigPath = await at(join(api.directory, "3"), "file");
  const kubeconfigEnv = `${join(api.directory, "none")}:${first}:${second}`;
  const nothing = { ...api.config, kubeconfigPath: undefined };
  const context = (config: typeof api.config) =>
    loadKubeConfig(config, { home, podRoot: "/nowhere" }).getCurrentContext();
  expect(context({ ...nothing, kubeconfigEnv, kubeconfigPath })).toBe("file");
  expect(context({ ...nothing, kubeconfigEnv })).toBe("env-1");
  expect(context({ ...nothing, kubeconfigEnv, context: "env-2" })).toBe("env-2");
  expect(context(nothing)).toBe("home");
  await expect(
    openConnection(nothing, { log: silent, files: { home: "/nowhere", podRoot: "/nowhere" } }),
  ).rejects.toThrow("no kubeconfig");
});

test("in a pod the service account's token is used, and read again", async () => {
  await using api = await startTinyApi((_, response) => reply(response, 200, {}));
  const root = join(api.directory, "pod");
  const account = join(root, "var/run/secrets/kubernetes.io/serviceaccount");
  await mkdir(account, { recursive: true });
  await writeFile(join(account, "token"), "pod-token");
  await writeFile(join(account, "namespace"), "hodei-system");
  const before = process.env["KUBERNETES_SERVICE_HOST"];
  process.env["KUBERNETES_SERVICE_HOST"] = "10.0.0.1";
  process.env["KUBERNETES_SERVICE_PORT"] = "443";
  try {
    const nothing = { ...api.config, kubeconfigPath: undefined };
    const loaded = loadKubeConfig(nothing, { home: "/nowhere", podRoot: root });
    expect(loaded.getCurrentCluster()?.server).toBe("https://10.0.0.1:443");
  } finally {
    if (before === undefined) delete process.env["KUBERNETES_SERVICE_HOST"];
    else process.env["KUBERNETES_SERVICE_HOST"] = before;
  }
});
