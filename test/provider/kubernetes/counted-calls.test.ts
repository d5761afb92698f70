import { expect, test } from "vitest";
import { type AnsweredCall, openConnection, resourceOf } from "#provider/kubernetes/connection.ts";
import { type PodTally, tallyPods } from "#provider/kubernetes/pod-tally.ts";
import { createMetrics } from "#metrics.ts";
import { parseScrape } from "../../metrics/ground.ts";
import { refuse, reply, silent, startTinyApi } from "./ground-server.ts";
import { never, newSpec, open } from "./provider-open.ts";

const pods = "/api/v1/namespaces/a/pods";

test.for([
  [pods, "pods"],
  [`${pods}/hodei-worker-w1/log`, "pods"],
  ["/api/v1/namespaces/a", "namespaces"],
  ["/api/v1/nodes", "nodes"],
  ["/apis/networking.k8s.io/v1/namespaces/a/networkpolicies/deny", "networkpolicies"],
  ["/version", "other"],
] as const)("%s is about %s", ([path, resource]) => {
  expect(resourceOf(path)).toBe(resource);
});

test("each try of a call is told, and counted without names", async () => {
  const answers = [503, 201, 403, 200];
  await using api = await startTinyApi((_, response) => {
    const status = answers.shift() ?? 500;
    if (status < 300) reply(response, status, {});
    else refuse(response, status);
  });
  const metrics = createMetrics();
  const calls: AnsweredCall[] = [];
  const onCall = (call: AnsweredCall): void => {
    calls.push(call);
    metrics.clusterCalled("east", call);
  };
  await using connection = await openConnection(api.config, { log: silent, onCall });
  await connection.request({ method: "GET", path: `${pods}/one` });
  const create = { method: "POST", path: pods, body: {} } as const;
  await expect(connection.request(create)).rejects.toMatchObject({ status: 403 });
  await connection.request(create);
  expect(calls.map(({ method, status }) => [method, status])).toEqual([
    ["GET", 503],
    ["GET", 201],
    ["POST", 403],
    ["POST", 200],
  ]);
  const { values } = parseScrape((await metrics.read()).text);
  const by = 'provider="east"';
  expect(Object.fromEntries(values)).toMatchObject({
    [`hodei_kubernetes_api_requests_total{${by},method="GET",resource="pods"}`]: 2,
    [`hodei_kubernetes_api_requests_total{${by},method="POST",resource="pods"}`]: 2,
    [`hodei_kubernetes_api_request_errors_total{${by},method="GET",resource="pods",status="503"}`]: 1,
    [`hodei_kubernetes_pod_creation_errors_total{${by},status="403"}`]: 1,
    [`hodei_kubernetes_workers_created_total{${by}}`]: 1,
    [`hodei_kubernetes_pod_creation_duration_seconds_count{${by}}`]: 1,
  });
});

test("a pod is counted once when it comes and once when it goes, however it is ended", async () => {
  const metrics = createMetrics();
  let read = (): PodTally => tallyPods([]);
  let isOpen = false;
  const { cluster, provider } = await open(
    {},
    {
      onCall: (call) => metrics.clusterCalled("east", call),
      onPodGone: () => metrics.podGone("east"),
      onOpen(tally) {
        [isOpen, read] = [true, tally];
        return () => void (isOpen = false);
      },
    },
  );
  const [left, stopped] = [newSpec(), newSpec()];
  for (const spec of [left, stopped]) await provider.startWorker(spec, never);
  const count = (): number => Object.values(read().byPhase).reduce((sum, one) => sum + one, 0);
  await expect.poll(count).toBe(2);
  expect(read().memoryBytes).toBeGreaterThan(0);
  cluster.end(left.workerId, 0);
  await Promise.all([provider.stopWorker(left.workerId, 0), provider.stopWorker(left.workerId, 0)]);
  await provider.stopWorker(stopped.workerId, 0);
  await expect.poll(count).toBe(0);
  const { values } = parseScrape((await metrics.read()).text);
  expect(values.get('hodei_kubernetes_workers_created_total{provider="east"}')).toBe(2);
  expect(values.get('hodei_kubernetes_workers_deleted_total{provider="east"}')).toBe(2);
  await provider[Symbol.asyncDispose]();
  expect(isOpen).toBe(false);
});
