import { Client, credentials, type ServiceError } from "@grpc/grpc-js";
import { X509Certificate } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { toStatus } from "#api/status.ts";
import { type Authority, authorityTimes, openAuthority, serviceNames } from "#rpc/ca.ts";
import { Edge } from "#rpc/edge.ts";
import { listen, resolveAddress } from "#rpc/listen.ts";
import { safeHandlers } from "#rpc/serve.ts";
import { createLogger } from "#telemetry.ts";

const day = 24 * 3_600_000;
const names = ["localhost", "127.0.0.1", "::1", "hodei.jobs.svc"];
const log = createLogger("silent");
const echo = {
  path: "/t.T/Echo",
  requestStream: false,
  responseStream: false,
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
} as const;

let directory: string;
/** What the clock says, and whether it can be moved. */
let at: number;
const now = (): number => at;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hodei-ca-"));
  at = Date.now();
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const open = (more: Partial<Parameters<typeof openAuthority>[0]> = {}): Promise<Authority> =>
  openAuthority({ directory: join(directory, "tls"), names, log, now, ...more });

const certificateOf = ({ certFile }: Authority): X509Certificate =>
  new X509Certificate(readFileSync(certFile));

/** The authorities in a bundle, in order. */
const parse = (bundle: string): X509Certificate[] =>
  (bundle.match(/-----BEGIN[^]*?-----END CERTIFICATE-----/g) ?? []).map(
    (text) => new X509Certificate(text),
  );

async function serve(authority: Authority): Promise<string> {
  const edge = new Edge<string>({ log, admit: () => "", toStatus, onEnd: () => undefined });
  const service = { echo };
  const handlers = safeHandlers(edge, service, { echo: (message) => message });
  const listener = await listen({
    address: await resolveAddress("127.0.0.1:0"),
    edge,
    services: [{ service, handlers, maxMessageBytes: 100 }],
    tls: { certFile: authority.certFile, keyFile: authority.keyFile, clientCaFile: undefined },
    tlsReloadMs: 20,
    maxConnections: 100,
    maxStreamsPerConnection: 10,
    drainMs: 100,
  });
  onTestFinished(() => listener[Symbol.asyncDispose]());
  return listener.address;
}

/** Calls by a connection of its own; resolves with the answer, or with what is wrong. */
async function call(address: string, ca: string, target?: string): Promise<string> {
  const client = new Client(address, credentials.createSsl(Buffer.from(ca)), {
    "grpc.use_local_subchannel_pool": 1,
    ...(target === undefined ? {} : { "grpc.ssl_target_name_override": target }),
  });
  try {
    return await new Promise((resolve) => {
      const { path, requestSerialize, responseDeserialize } = echo;
      const done = (error: ServiceError | null, answer?: string): void =>
        resolve(error === null ? (answer ?? "") : error.details);
      const deadline = { deadline: Date.now() + 5_000 };
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, "hi", deadline, done);
    });
  } finally {
    client.close();
  }
}

describe("the server's own authority", () => {
  test("vouches for the server under each of its names, and for nobody else's", async () => {
    const authority = await open();
    const address = await serve(authority);
    expect(await call(address, authority.bundle)).toBe("hi");
    for (const name of ["localhost", "hodei.jobs.svc"]) {
      expect(await call(address, authority.bundle, name)).toBe("hi");
    }
    expect(await call(address, authority.bundle, "example.org")).toMatch(/altnames/i);
    expect(readFileSync(authority.caFile, "utf8")).toBe(authority.bundle);
  });

  test("is not another one's", async () => {
    const authority = await open();
    const other = await open({ directory: join(directory, "other") });
    expect(await call(await serve(authority), other.bundle)).toMatch(/certificate/i);
  });

  test("stays the same when the server is restarted, and so does the certificate", async () => {
    const first = await open();
    const served = readFileSync(first.certFile, "utf8");
    const again = await open();
    expect(again.bundle).toBe(first.bundle);
    expect(readFileSync(again.certFile, "utf8")).toBe(served);
  });

  test("keeps its keys to itself", async () => {
    await open();
    const folder = join(directory, "tls");
    chmodSync(folder, 0o755);
    await open();
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const file of readdirSync(folder)) {
      expect(statSync(join(folder, file)).mode & 0o777).toBe(0o600);
    }
  });

  test("holds for clocks that are a little behind", async () => {
    const authority = await open();
    for (const one of [certificateOf(authority), ...parse(authority.bundle)]) {
      expect(at - one.validFromDate.getTime()).toBeGreaterThan(authorityTimes.skewMs - 2_000);
    }
  });

  test("is P-256, for ten years, and signs servers only", async () => {
    const [authority] = parse((await open()).bundle);
    expect(authority?.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1");
    const years = ((authority?.validToDate.getTime() ?? 0) - at) / (365 * day);
    expect(Math.round(years)).toBe(10);
    expect(authority?.ca).toBe(true);
  });

  test("that is not whole is refused, and its file named", async () => {
    await open();
    writeFileSync(join(directory, "tls", "authority-1.key"), "x");
    await expect(open()).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining("authority-1"),
    });
  });
});

describe("the server's certificate", () => {
  test("is renewed well before its end, by the same authority and key, and served without a restart", async () => {
    at = Date.now() - 61 * day;
    const authority = await open();
    const address = await serve(authority);
    const before = certificateOf(authority);
    at += 59 * day;
    await authority.renew(undefined);
    expect(certificateOf(authority).serialNumber).toBe(before.serialNumber);
    at = Date.now();
    await authority.renew(undefined);
    const after = certificateOf(authority);
    expect(after.serialNumber).not.toBe(before.serialNumber);
    expect(Math.round((after.validToDate.getTime() - at) / day)).toBe(90);
    expect(after.publicKey.equals(before.publicKey)).toBe(true);
    expect(await call(address, authority.bundle)).toBe("hi");
  });

  test.for([
    ["runs out", undefined],
    ["does not bear a new name", [...names, "new.example.org"]],
  ] as const)("that %s is renewed at the start", async ([, wanted]) => {
    const before = certificateOf(await open());
    if (wanted === undefined) at += 61 * day;
    const again = await open({ names: wanted ?? names });
    const after = certificateOf(again);
    expect(after.serialNumber).not.toBe(before.serialNumber);
    if (wanted !== undefined) expect(after.checkHost("new.example.org")).toBeDefined();
    expect(after.verify(parse(again.bundle)[0]?.publicKey ?? after.publicKey)).toBe(true);
  });

  test("that is damaged, or of a clock that was ahead, is made anew", async () => {
    const authority = await open();
    writeFileSync(authority.certFile, "x");
    await authority.renew(undefined);
    expect(certificateOf(authority).subject).toContain("Hodei");
    const before = certificateOf(authority);
    at -= 2 * day;
    await authority.renew(undefined);
    expect(certificateOf(authority).serialNumber).not.toBe(before.serialNumber);
  });
});

describe("rotation", () => {
  /** Nine years and a month on, so that a newer authority is due. */
  async function rotating() {
    const authority = await open();
    const old = authority.bundle;
    at += 3_650 * day - 364 * day;
    await authority.renew(undefined);
    return { authority, old, madeAt: at };
  }

  const signerOf = (authority: Authority): number =>
    parse(authority.bundle).findIndex(({ publicKey }) =>
      certificateOf(authority).verify(publicKey),
    );

  test("gives out both, and lets the older one sign while it is the only one that agents know", async () => {
    const { authority, old, madeAt } = await rotating();
    expect(parse(authority.bundle)).toHaveLength(2);
    expect(authority.bundle.startsWith(old)).toBe(true);
    expect(readFileSync(authority.caFile, "utf8")).toBe(authority.bundle);
    expect(signerOf(authority)).toBe(0);
    at += 31 * day;
    // An agent of before is still there.
    await authority.renew(madeAt - 1);
    expect(signerOf(authority)).toBe(0);
    expect(parse(authority.bundle)).toHaveLength(2);
  });

  test("leaves people time, even when there are no agents", async () => {
    const { authority } = await rotating();
    at += 29 * day;
    await authority.renew(undefined);
    expect(signerOf(authority)).toBe(0);
    expect(parse(authority.bundle)).toHaveLength(2);
  });

  test("ends once nobody of before is left: the newer one signs, the older one is gone", async () => {
    const { authority, old, madeAt } = await rotating();
    const both = authority.bundle;
    at += 31 * day;
    await authority.renew(madeAt + day);
    const [only, ...more] = parse(authority.bundle);
    expect(more).toEqual([]);
    expect(both.endsWith(authority.bundle)).toBe(true);
    expect(only?.subject).toBe(certificateOf(authority).issuer);
    expect(parse(old).some(({ publicKey }) => certificateOf(authority).verify(publicKey))).toBe(
      false,
    );
    expect(readdirSync(join(directory, "tls")).toSorted()).toEqual([
      "authority-2.crt",
      "authority-2.key",
      "ca.crt",
      "server.crt",
      "server.key",
    ]);
  });

  test("goes on after a restart, at each of its stages", async () => {
    const { authority, madeAt } = await rotating();
    const restarted = await open();
    expect(restarted.bundle).toBe(authority.bundle);
    expect(signerOf(restarted)).toBe(0);
    at += 31 * day;
    await restarted.renew(madeAt + day);
    const last = await open();
    expect(last.bundle).toBe(restarted.bundle);
    expect(parse(last.bundle)).toHaveLength(1);
  });

  test("ends in any case before the older one does", async () => {
    const { authority, madeAt } = await rotating();
    at += 340 * day;
    await authority.renew(madeAt - 1);
    expect(parse(authority.bundle)).toHaveLength(1);
    expect(certificateOf(authority).validToDate.getTime()).toBeGreaterThan(at + 80 * day);
  });

  test("serves those who know the older one and those who know both, on one listener", async () => {
    // Made long ago by the clock, so that everything is good today.
    const times = { ...authorityTimes, authorityMs: 380 * day };
    at = Date.now() - 60 * day;
    const authority = await open({ times });
    const old = authority.bundle;
    const address = await serve(authority);
    await authority.renew(undefined);
    at = Date.now() - 40 * day;
    await authority.renew(undefined);
    const both = authority.bundle;
    expect(parse(both)).toHaveLength(2);
    expect(await call(address, old)).toBe("hi");
    expect(await call(address, both)).toBe("hi");
    at = Date.now();
    await authority.renew(undefined);
    expect(parse(authority.bundle)).toHaveLength(1);
    await expect.poll(() => call(address, authority.bundle), { timeout: 8_000 }).toBe("hi");
    expect(await call(address, both)).toBe("hi");
    expect(await call(address, old)).toMatch(/certificate/i);
  });
});

test.for([
  [
    "hodei.jobs.svc.cluster.local",
    ["hodei.jobs.svc.cluster.local", "hodei.jobs.svc", "hodei.jobs", "hodei"],
  ],
  ["hodei.jobs.svc", ["hodei.jobs.svc", "hodei.jobs", "hodei"]],
  ["hodei.example.org", ["hodei.example.org"]],
  ["192.0.2.1", ["192.0.2.1"]],
] as const)("%s is also dialled by its short names", ([host, wanted]) => {
  expect(serviceNames(host)).toEqual(wanted);
});
