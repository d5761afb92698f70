import { Client, Metadata, status } from "@grpc/grpc-js";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Policy, policies } from "#api/policy.ts";
import { TokenServiceClient, TokenServiceService } from "#rpc/gen/hodei/v1/token_service.ts";
import { ask, bearer, clientOptions, type Harness, insecure, startHarness } from "./harness.ts";

interface Rpc {
  readonly path: string;
  readonly isClientStream: boolean;
  readonly isServerStream: boolean;
}

/** Every RPC of the contract, read from the .proto files themselves. */
const rpcs: Rpc[] = readdirSync(join(import.meta.dirname, "../../proto/hodei/v1")).flatMap(
  (file) => {
    const text = readFileSync(join(import.meta.dirname, "../../proto/hodei/v1", file), "utf8");
    return [...text.matchAll(/^service (\w+) \{([\s\S]*?)^\}/gm)].flatMap(
      ([, service, body = ""]) =>
        [...body.matchAll(/^\s*rpc (\w+)\((stream )?\w+\) returns \((stream )?\w+\)/gm)].map(
          ([, name, fromClient, fromServer]) => ({
            path: `/hodei.v1.${service}/${name}`,
            isClientStream: fromClient !== undefined,
            isServerStream: fromServer !== undefined,
          }),
        ),
    );
  },
);

const roles = { viewer: 1, submitter: 2, operator: 3, admin: 4 } as const;

test("every RPC of the contract has a policy", () => {
  expect(rpcs.length).toBeGreaterThan(20);
  const named = Object.keys(policies).filter((path) => path.startsWith("/hodei.v1."));
  expect(new Set(rpcs.map((rpc) => rpc.path))).toEqual(new Set(named));
});

describe.for([{ isOpen: false }, { isOpen: true }])(
  "where anonymous access is $isOpen",
  ({ isOpen }) => {
    let harness: Harness;
    let client: Client;
    const tokens = new Map<string, string>();

    beforeAll(async () => {
      harness = await startHarness({ isOpen });
      client = new Client(harness.address, insecure, clientOptions);
      if (isOpen) return;
      const admin = new TokenServiceClient(harness.address, insecure, clientOptions);
      for (const [name, role] of Object.entries(roles)) {
        for (const tenant of ["default", "other"]) {
          const made = await ask(admin, TokenServiceService.createToken, {
            subject: name,
            tenant,
            role,
            ttl: undefined,
          });
          tokens.set(`${name}@${tenant}`, made.secret);
        }
      }
      admin.close();
    });

    afterAll(async () => {
      client.close();
      await harness[Symbol.asyncDispose]();
    });

    /** The status that a call with an empty message ends with. */
    async function statusOf(rpc: Rpc, metadata: Metadata): Promise<number> {
      const pass = (bytes: Buffer): Buffer => bytes;
      return new Promise((resolve) => {
        const done = (error: { code?: number } | null): void => resolve(error?.code ?? status.OK);
        const message = Buffer.alloc(0);
        if (rpc.isClientStream) {
          const call = client.makeBidiStreamRequest(rpc.path, pass, pass, metadata);
          call
            .on("error", done)
            .on("status", done)
            .on("data", () => undefined);
          call.end();
        } else if (rpc.isServerStream) {
          const call = client.makeServerStreamRequest(rpc.path, pass, pass, message, metadata);
          call
            .on("error", done)
            .on("status", done)
            .on("data", () => undefined);
        } else client.makeUnaryRequest(rpc.path, pass, pass, message, metadata, done);
      });
    }

    const agents = (): Metadata => {
      const metadata = new Metadata();
      metadata.set("hodei-worker-id", "w00000000000");
      metadata.set("hodei-session", "s".repeat(43));
      return metadata;
    };
    const wrong = `hodei_0123456789abcdef_${"A".repeat(43)}`;
    const policyOf = (rpc: Rpc): Policy => policies[rpc.path] ?? { who: "anybody" };

    test.for(rpcs)("$path is closed to wrong credentials and agents' sessions", async (rpc) => {
      const garbled = new Metadata();
      garbled.set("authorization", "Basic YTpi");
      for (const metadata of [bearer(wrong), bearer("short"), garbled, agents()]) {
        expect(await statusOf(rpc, metadata)).toBe(status.UNAUTHENTICATED);
      }
    });

    test.for(rpcs)("$path without a credential", async (rpc) => {
      const code = await statusOf(rpc, new Metadata());
      const isLetIn = isOpen && policyOf(rpc).who === "client";
      expect(code === status.UNAUTHENTICATED).toBe(!isLetIn);
      expect([status.INTERNAL, status.UNKNOWN, status.UNIMPLEMENTED]).not.toContain(code);
    });

    if (isOpen) return;
    const cases = rpcs.flatMap((rpc) => Object.keys(roles).map((role) => ({ ...rpc, rpc, role })));
    test.for(cases)("$path by $role", async ({ rpc, role }) => {
      const policy = policyOf(rpc);
      for (const tenant of ["default", "other"]) {
        const code = await statusOf(rpc, bearer(tokens.get(`${role}@${tenant}`) ?? ""));
        if (policy.who !== "client") expect(code).toBe(status.UNAUTHENTICATED);
        else {
          const least = roles[policy.least];
          const isEnough = roles[role as keyof typeof roles] >= least;
          expect(code === status.PERMISSION_DENIED).toBe(!isEnough);
          expect([status.UNAUTHENTICATED, status.INTERNAL, status.UNKNOWN]).not.toContain(code);
        }
      }
    });
  },
);
