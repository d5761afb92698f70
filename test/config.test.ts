import { expect, test } from "vitest";
import { configTable, parseConfig } from "#config.ts";
import { variableName } from "#setting.ts";

test("the defaults are whole and frozen", () => {
  const { config, warnings } = parseConfig({});
  expect(warnings).toEqual([]);
  expect(config.listenAddress).toBe("127.0.0.1:50051");
  expect(config.logTtlMs).toBe(7 * 24 * 3_600_000);
  expect(Object.isFrozen(config)).toBe(true);
  expect(Object.isFrozen(config.warmPool)).toBe(true);
});

test.for([
  ["HODEI_WORKER_SLOTS", "0"],
  ["HODEI_WORKER_SLOTS", "-1"],
  ["HODEI_WORKER_SLOTS", "1e9"],
  ["HODEI_WORKER_SLOTS", ""],
  ["HODEI_WORKER_SLOTS", "yes"],
  ["HODEI_RENEW_INTERVAL_MS", "1.5"],
  ["HODEI_PROCESS_ENABLED", "maybe"],
  ["HODEI_LOG_LEVEL", "loud"],
  ["HODEI_TENANT_WEIGHTS", "{"],
  ["HODEI_TENANT_WEIGHTS", '{"a": 0}'],
  ["HODEI_TENANT_WEIGHTS", '{"A B": 1}'],
  ["HODEI_WARM_POOL", '[{"count": -1}]'],
  ["HODEI_WARM_POOL", '[{"count": 1, "typo": 1}]'],
  ["HODEI_WARM_POOL", '[{"count": 1, "strict": true}]'],
  ["HODEI_WARM_POOL", '[{"count": 1, "tenant": "A B"}]'],
  ["HODEI_TLS_CLIENT_SUBJECTS", '{"a": {"tenant": "t", "role": "king"}}'],
  ["HODEI_TLS_KEY_FILE", "/key.pem"],
  ["HODEI_ADMIN_TOKEN", "short"],
  ["HODEI_DATA_DIRECTORY", "a\0b"],
  ["HODEI_SERVER_ADDRESS", "nowhere"],
  ["HODEI_SERVER_ADDRESS", "a:1,b"],
  ["HODEI_DOCKER_SERVER_ADDRESS", "a:1,b"],
  ["HODEI_AGENT_RECONNECT_MAX_MS", "0"],
] as const)("%s=%j is refused by one line that begins with its name", ([name, value]) => {
  const line = name === "HODEI_TLS_KEY_FILE" ? "HODEI_TLS_CERT_FILE" : name;
  expect(() => parseConfig({ [name]: value })).toThrow(new RegExp(`^${line}: [^\\n]+$`));
});

test("where tenants have namespaces of their own, a warm worker of nobody is refused", () => {
  const given = { HODEI_K8S_ENABLED: "1", HODEI_K8S_ENABLE_DYNAMIC_NAMESPACES: "1" };
  const parse = (pool: object) =>
    parseConfig({ ...given, HODEI_WARM_POOL: JSON.stringify([pool]) });
  expect(() => parse({ count: 1 })).toThrow(/^HODEI_WARM_POOL: needs a tenant/);
  expect(parse({ count: 1, tenant: "acme" }).warnings).toEqual([]);
  expect(parse({ count: 1, provider: "process" }).warnings).toEqual([]);
});

test("the environment wins over the file", () => {
  const file = JSON.stringify({ workerSlots: 3, processEnabled: false, tenantWeights: { ci: 2 } });
  const { config } = parseConfig({ HODEI_WORKER_SLOTS: "4" }, file);
  expect(config).toMatchObject({ workerSlots: 4, processEnabled: false, tenantWeights: { ci: 2 } });
});

test("a file with an unknown setting is refused", () => {
  expect(() => parseConfig({}, '{"workerSlot": 3}')).toThrow("workerSlot");
  expect(() => parseConfig({}, "[]")).toThrow("HODEI_CONFIG_FILE");
});

test("an unknown variable is a warning, one of the agent's is not", () => {
  const env = { HODEI_TYPO: "1", HODEI_OTP_FILE: "/x", HODEI_SERVER: "a:1", OTHER: "x" };
  expect(parseConfig(env).warnings).toEqual(["HODEI_TYPO is not a setting of this version"]);
});

test("common other names are understood", () => {
  const { config } = parseConfig({ GRPC_PORT: "6000", SERVER_LOG_TTL_HOURS: "2" });
  expect(config).toMatchObject({ listenAddress: "127.0.0.1:6000", logTtlMs: 7_200_000 });
});

test("every setting is documented with its default and its unit", () => {
  const table = configTable();
  for (const row of table) expect(row).not.toMatchObject({ description: "" });
  const row = table.find(({ name }) => name === "HODEI_LOG_TTL_MS");
  expect(row).toMatchObject({ default: "604800000", unit: "ms" });
  expect(variableName("tlsCertFile")).toBe("HODEI_TLS_CERT_FILE");
});

test("G3: a job is kept for at least as long as its idempotency key", () => {
  const env = { HODEI_JOB_TTL_MS: "3600000", HODEI_IDEMPOTENCY_TTL_MS: "7200000" };
  expect(() => parseConfig(env)).toThrow("HODEI_JOB_TTL_MS");
});
