import { afterEach, beforeEach, describe, expect, test } from "vitest";

import { startKubernetes, type KubernetesDouble } from "../fake/kubernetes/kubernetes.ts";
import { call, podBody, watchUntil, type Reply } from "./api-call.ts";

let double: KubernetesDouble;
beforeEach(async () => {
  double = await startKubernetes({ tls: false, anonymousAdmin: true });
});
afterEach(() => double[Symbol.asyncDispose]());

const pods = "/api/v1/namespaces/default/pods";
const make = (name: string, labels: object = {}): Promise<Reply> =>
  call(double, "POST", pods, { body: podBody(name, {}, { labels }) });
const types = (
  events: readonly { type: string; object: { metadata?: { name?: string } } }[],
): string[] => events.map(({ type, object }) => `${type} ${object.metadata?.name}`);

describe("a watch", () => {
  test("goes on from a revision, and sees other objects not at all", async () => {
    const first = await make("a");
    const from = first.body.metadata?.resourceVersion;
    await make("b");
    await call(double, "POST", "/api/v1/namespaces/default/configmaps", {
      body: { metadata: { name: "c" } },
    });
    await call(double, "DELETE", `${pods}/a`);
    const events = await watchUntil(
      double,
      `${pods}?watch=1&resourceVersion=${from}`,
      (all) => all.length >= 3,
    );
    expect(types(events)).toEqual(["ADDED b", "MODIFIED a", "DELETED a"]);
  });

  test("sees what comes into and leaves its selection", async () => {
    const from = (await make("a")).body.metadata?.resourceVersion;
    const label = (value: string | null): Promise<Reply> =>
      call(double, "PATCH", `${pods}/a`, {
        body: { metadata: { labels: { mine: value } } },
        headers: { "content-type": "application/merge-patch+json" },
      });
    for (const value of ["yes", "still", null]) await label(value);
    const path = `${pods}?watch=1&resourceVersion=${from}&labelSelector=mine`;
    const events = await watchUntil(double, path, (all) => all.length >= 3);
    expect(types(events)).toEqual(["ADDED a", "MODIFIED a", "DELETED a"]);
  });

  test("ends in good order after its time, with a last bookmark", async () => {
    const path = `${pods}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=${double.objects.revision}`;
    const events = await watchUntil(double, path, () => false);
    expect(events.map(({ type }) => type)).toEqual(["BOOKMARK"]);
  });

  test("is cut, ended or expired on demand", async () => {
    const open = async (): Promise<unknown> => watchUntil(double, `${pods}?watch=1`, () => false);
    const cut = open().catch((error: unknown) => error);
    await expect.poll(() => double.watches.cut("pods")).toBe(1);
    expect(await cut).toBeInstanceOf(TypeError);
    const ended = open();
    await expect.poll(() => double.watches.end()).toBe(1);
    expect(await ended).toEqual([]);
    const expired = open();
    await expect.poll(() => double.watches.count).toBe(1);
    double.compact();
    expect(await expired).toMatchObject([
      { type: "ERROR", object: { code: 410, reason: "Expired" } },
    ]);
  });

  test("cannot go back further than the window", async () => {
    const from = (await make("a")).body.metadata?.resourceVersion;
    double.history.resize(2);
    for (const name of ["b", "c", "d", "e"]) await make(name);
    const [event] = await watchUntil(
      double,
      `${pods}?watch=1&resourceVersion=${from}`,
      (all) => all.length >= 1,
    );
    expect(event).toMatchObject({ type: "ERROR", object: { code: 410 } });
  });

  test("refuses to start in the future", async () => {
    const reply = await call(double, "GET", `${pods}?watch=1&resourceVersion=999999`);
    expect(reply).toMatchObject({ status: 504, body: { reason: "Timeout" } });
  });
});

describe("a list", () => {
  test("comes in pages of one moment", async () => {
    for (const name of ["a", "b", "c"]) await make(name);
    const first = await call(double, "GET", `${pods}?limit=2`);
    expect(first.body).toMatchObject({ kind: "PodList", metadata: { remainingItemCount: 1 } });
    await make("d");
    const token = first.body.metadata?.continue ?? "";
    const rest = await call(double, "GET", `${pods}?limit=2&continue=${token}`);
    expect(rest.body.items?.map((one) => one.metadata?.name)).toEqual(["c"]);
    double.compact();
    expect(await call(double, "GET", `${pods}?continue=${token}`)).toMatchObject({
      status: 410,
      body: { reason: "Expired" },
    });
  });

  test.for([
    ["labelSelector=a%3D1", ["x"]],
    ["labelSelector=a%20in%20(1,2)", ["x", "y"]],
    ["labelSelector=!a", ["z"]],
    ["labelSelector=a!%3D1", ["y", "z"]],
    ["fieldSelector=metadata.name%3Dy", ["y"]],
    ["fieldSelector=status.phase%3DPending,metadata.name!%3Dy", ["x", "z"]],
  ] as const)("by %s", async ([query, names]) => {
    await make("x", { a: "1" });
    await make("y", { a: "2" });
    await make("z");
    const reply = await call(double, "GET", `/api/v1/pods?${query}`);
    expect(reply.body.items?.map((one) => one.metadata?.name)).toEqual(names);
  });

  test("refuses a field that nothing is selected by", async () => {
    const reply = await call(double, "GET", `${pods}?fieldSelector=spec.nope%3D1`);
    expect(reply.body.message).toContain("field label not supported: spec.nope");
  });
});

describe("the knobs", () => {
  test.for([403, 409, 410, 429, 500])(
    "the next call is answered %i, the one after it as ever",
    async (code) => {
      double.knobs.fail({ verb: "create", resource: "pods" }, { code, retryAfterSeconds: 2 });
      const refused = await make("a");
      expect(refused).toMatchObject({ status: code, body: { kind: "Status", code } });
      expect(refused.headers.get("retry-after")).toBe("2");
      expect((await make("a")).status).toBe(201);
    },
  );

  test("a lost answer is a call that was done", async () => {
    double.knobs.loseReply({ verb: "create", resource: "pods", name: "" });
    await expect(make("a")).rejects.toThrow("fetch failed");
    expect((await make("a")).body.reason).toBe("AlreadyExists");
    double.knobs.drop({ verb: "create" });
    await expect(make("b")).rejects.toThrow("fetch failed");
    expect((await make("b")).status).toBe(201);
  });

  test("refused connections come back", async () => {
    {
      using _ = double.knobs.refuse();
      await expect(make("a")).rejects.toThrow("fetch failed");
    }
    expect((await make("a")).status).toBe(201);
  });

  test("calls are counted, watches apart", async () => {
    double.knobs.forgetCalls();
    await make("a");
    await watchUntil(double, `${pods}?watch=1`, (all) => all.length >= 1);
    await call(double, "GET", `${pods}/a`);
    expect(double.knobs.counts()).toEqual({ "create pods": 1, "get pods": 1 });
    expect(double.knobs.count({ verb: "watch", resource: "pods" })).toBe(1);
  });
});
