import { mkdtempSync, rmSync } from "node:fs";
import {
  createServer,
  request,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openS3Objects, type S3Options } from "#logstore/s3/open.ts";
import type { ObjectStore } from "#logstore/object-store.ts";

/** How the way to the server fails. */
export type S3Fault =
  "none" | "refused" | "hangs" | "error" | "truncated" | "damaged" | "forbidden";

interface S3Rver {
  run(): Promise<AddressInfo>;
  close(): Promise<void>;
}

const require = createRequire(import.meta.url);
const bucket = "hodei";

/** An S3-compatible server in this process, behind a way that can fail. */
export class FakeS3 implements AsyncDisposable {
  fault: S3Fault = "none";
  /** Keys in one page of a listing. The server behind fails where it has to cut a page itself. */
  pageKeys = 1_000;
  /** Calls that came so far, `GET /bucket/key`. */
  readonly calls: string[] = [];
  readonly #directory: string;
  readonly #server: S3Rver;
  readonly #behind: number;
  readonly #front: Server;
  readonly port: number;

  private constructor(parts: { directory: string; server: S3Rver; behind: number; front: Server }) {
    this.#directory = parts.directory;
    this.#server = parts.server;
    this.#behind = parts.behind;
    this.#front = parts.front;
    this.port = (parts.front.address() as AddressInfo).port;
    parts.front.on("request", (call: IncomingMessage, answer: ServerResponse) => {
      this.#forward(call, answer);
    });
  }

  static async start(): Promise<FakeS3> {
    const directory = mkdtempSync(join(tmpdir(), "hodei-s3-"));
    // It has no types, and it warns of its age.
    const S3rver = require("s3rver") as new (options: object) => S3Rver;
    const server = new S3rver({
      address: "127.0.0.1",
      port: 0,
      silent: true,
      directory,
      configureBuckets: [{ name: bucket, configs: [] }],
    });
    const { port: behind } = await server.run();
    const front = createServer();
    await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
    return new FakeS3({ directory, server, behind, front });
  }

  get options(): S3Options {
    return {
      bucket,
      prefix: "",
      region: "us-east-1",
      endpoint: `http://127.0.0.1:${this.port}`,
      accessKeyId: "S3RVER",
      secretAccessKey: "S3RVER",
      forcePathStyle: true,
      timeoutMs: 5_000,
      tries: 2,
      firstPauseMs: 1,
    };
  }

  open(options: Partial<S3Options> = {}): Promise<ObjectStore> {
    return openS3Objects({ ...this.options, ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#front.closeAllConnections();
    await new Promise<void>((resolve) => this.#front.close(() => resolve()));
    await this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #forward(call: IncomingMessage, answer: ServerResponse): void {
    const { method = "", url = "", headers } = call;
    this.calls.push(`${method} ${url}`);
    switch (this.fault) {
      case "refused":
        call.socket.destroy();
        return;
      case "hangs":
        call.resume();
        return;
      case "error":
      case "forbidden":
        call.resume();
        answer.writeHead(this.fault === "error" ? 503 : 403, { "content-type": "application/xml" });
        answer.end("<Error><Code>Trouble</Code><Message>made for a test</Message></Error>");
        return;
      default:
        break;
    }
    const { fault } = this;
    const onward = request(
      { host: "127.0.0.1", port: this.#behind, method, path: url, headers },
      (from) => {
        const { "content-length": _, ...rest } = from.headers;
        const isListing = url.includes("list-type");
        answer.writeHead(from.statusCode ?? 500, isListing ? rest : from.headers);
        const chunks: Buffer[] = [];
        from.on("data", (chunk: Buffer) => chunks.push(chunk));
        from.on("end", () => {
          const body = Buffer.concat(chunks);
          const isObject = method === "GET" && !isListing;
          if (fault === "truncated" && isObject && body.length > 1) {
            answer.write(body.subarray(0, body.length >>> 1), () => answer.destroy());
            return;
          }
          if (fault === "damaged" && isObject) body.fill(1, body.length >>> 1);
          answer.end(isListing ? cutPage(body, this.pageKeys) : body);
        });
      },
    );
    onward.on("error", () => answer.destroy());
    call.pipe(onward);
  }
}

function cutPage(body: Buffer, keys: number): Buffer {
  const text = body.toString();
  const rows = text.match(/<Contents>.*?<\/Contents>/gs) ?? [];
  if (rows.length <= keys) return body;
  const kept = rows.slice(0, keys).join("");
  return Buffer.from(
    text
      .replace(/<Contents>.*<\/Contents>/s, kept)
      .replace("<IsTruncated>false", "<IsTruncated>true"),
  );
}

/** The names of all objects, in order. */
export async function keysOf(objects: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of objects.list()) keys.push(key);
  return keys;
}
