import { expect, test } from "vitest";
import { clusterOptions, connectionOptions } from "#store/redis/address.ts";

const optionsOf = (url: string) => connectionOptions({ url, commandTimeoutMs: 700 });

test.for([
  ["redis://127.0.0.1", { host: "127.0.0.1", port: 6_379, db: 0 }],
  ["redis://ops:p%40ss@redis:7000/3", { username: "ops", password: "p@ss", port: 7_000, db: 3 }],
  ["redis://:secret@[::1]:7000", { password: "secret", host: "::1" }],
  ["rediss://redis.example.org", { host: "redis.example.org", tls: {} }],
  ["unix:///run/redis.sock", { path: "/run/redis.sock" }],
  [
    "redis+sentinel://:secret@one,two:26380/main/2",
    {
      sentinels: [
        { host: "one", port: 26_379 },
        { host: "two", port: 26_380 },
      ],
      name: "main",
      password: "secret",
      db: 2,
    },
  ],
  ["rediss+sentinel://one/main", { name: "main", tls: {}, enableTLSForSentinelMode: true }],
] as const)("%s is understood", ([url, expected]) => {
  expect(optionsOf(url)).toMatchObject(expected);
});

test.for([
  "",
  "redis",
  "http://redis",
  "redis://",
  "redis://host/x",
  "redis+sentinel://host",
  "redis+cluster://h/1",
])("%j is refused without being repeated", (url) => {
  expect(() => optionsOf(url)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
});

test("a cluster is understood where one may be, and refused elsewhere", () => {
  const options = (url: string) => clusterOptions({ url, commandTimeoutMs: 700 });
  expect(options("redis+cluster://one,[::1]:7000")).toMatchObject({
    nodes: [
      { host: "one", port: 6_379 },
      { host: "::1", port: 7_000 },
    ],
  });
  expect(options("rediss+cluster://ops:secret@one:1/")).toMatchObject({
    nodes: [{ host: "one", port: 1 }],
    options: { username: "ops", password: "secret", tls: {}, commandTimeout: 700 },
  });
  expect(options("redis://one")).toBeUndefined();
  const refused = expect.objectContaining({ code: "invalid_argument" }) as Error;
  expect(() => options("redis+cluster://one/1")).toThrow(refused);
  expect(() => optionsOf("redis+cluster://one")).toThrow(refused);
});

test("no connection keeps, resends or waits for ever", () => {
  expect(optionsOf("redis://host")).toMatchObject({
    commandTimeout: 700,
    connectTimeout: 2_000,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
  });
});
