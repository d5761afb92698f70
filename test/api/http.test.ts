import { afterAll, beforeAll, expect, test } from "vitest";
import { type HttpListener, listenHttp } from "#api/http.ts";
import { createMetrics } from "#metrics.ts";
import { resolveAddress } from "#rpc/listen.ts";
import { createLogger } from "#telemetry.ts";

let http: HttpListener;
let problem: string | undefined;
const metrics = createMetrics();

beforeAll(async () => {
  http = await listenHttp({
    address: await resolveAddress("127.0.0.1:0"),
    log: createLogger("silent"),
    readMetrics: () => metrics.read(),
    checkLive: () => undefined,
    checkReady: () => problem,
    checkStarted: () => undefined,
  });
});

afterAll(async () => http[Symbol.asyncDispose]());

const get = async (path: string, method = "GET") =>
  fetch(`http://${http.address}${path}`, { method });

test.for([
  ["/health/live", 200],
  ["/health/ready", 200],
  ["/health/startup", 200],
  ["/health", 200],
  ["/metrics", 200],
  ["/metrics?x=1", 200],
  ["/", 404],
  ["/health/", 404],
  ["/../etc/passwd", 404],
] as const)("%s answers %i", async ([path, code]) => {
  expect((await get(path)).status).toBe(code);
});

test("what is not ready says why, and lives on", async () => {
  problem = "stopping";
  const ready = await get("/health/ready");
  expect([ready.status, await ready.text()]).toEqual([503, "stopping\n"]);
  expect((await get("/health/live")).status).toBe(200);
});

test("only reading is allowed", async () => {
  expect((await get("/metrics", "POST")).status).toBe(405);
});

test("metrics show what was counted", async () => {
  metrics.jobsSubmitted(3);
  metrics.callEnded("/hodei.v1.JobService/GetJob", "OK", 0.002);
  metrics.observe(async () => [{ gauge: "hodei_logs_open", value: 7 }]);
  const response = await get("/metrics");
  expect(response.headers.get("content-type")).toContain("text/plain");
  const text = await response.text();
  expect(text).toContain("hodei_jobs_created_total 3");
  expect(text).toContain("hodei_logs_open 7");
  expect(text).toContain(
    'hodei_grpc_requests_total{method="/hodei.v1.JobService/GetJob",status="OK"} 1',
  );
  expect(text).toContain("process_resident_memory_bytes");
});
