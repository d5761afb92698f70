import { expect, test } from "vitest";
import { readPodTail } from "#provider/kubernetes/tail.ts";
import { FakeConnection, kubeError } from "./fake-connection.ts";

const pod = { namespace: "workers", name: "hodei-worker-1" };

function connectionWith(log: string): FakeConnection {
  const connection = new FakeConnection();
  connection.log = log;
  return connection;
}

test("gives what the container printed", async () => {
  const connection = connectionWith("one\ntwo\n");
  expect(String(await text(connection))).toBe("one\ntwo\n");
  expect(connection.asked).toEqual(["LOG /api/v1/namespaces/workers/pods/hodei-worker-1/log"]);
});

test("gives whole last lines of what is too long", async () => {
  const lines = Array.from({ length: 1_000 }, (_, n) => `line ${n}\n`);
  const tail = await text(connectionWith(lines.join("")), 100);
  expect(tail).toMatch(/^line \d+\n[^]*line 999\n$/);
  expect(tail?.length).toBeLessThanOrEqual(100);
});

test("lines longer than what is read do not hide the last one", async () => {
  const lines = Array.from({ length: 50 }, (_, n) => `${"x".repeat(1_000)}${n}\n`);
  expect(await text(connectionWith(lines.join("")), 1_000)).toMatch(/x49\n$/);
});

test("nothing printed is no tail", async () => {
  expect(await text(connectionWith(""))).toBeUndefined();
});

test.for([404, 400, 500, 502])("%i is no tail", async (status) => {
  const connection = connectionWith("x\n");
  connection.fault = () => kubeError(status);
  expect(await text(connection)).toBeUndefined();
});

test("a missing right is told", async () => {
  const connection = connectionWith("x\n");
  connection.fault = () => kubeError(403);
  await expect(text(connection)).rejects.toMatchObject({ status: 403 });
});

async function text(connection: FakeConnection, maxBytes?: number): Promise<string | undefined> {
  const tail = await readPodTail(connection, {
    ...pod,
    ...(maxBytes === undefined ? {} : { maxBytes }),
  });
  return tail === undefined ? undefined : Buffer.from(tail).toString();
}
