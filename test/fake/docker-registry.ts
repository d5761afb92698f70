import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";

export interface Registry extends AsyncDisposable {
  /** The one image that it has. The engine trusts a registry on loopback without TLS. */
  readonly image: string;
  readonly host: string;
  readonly credentials: { readonly username: string; readonly password: string };
}

interface Blob {
  readonly type: string;
  readonly bytes: Buffer;
}

/** A registry on loopback with one image that holds nothing. `isPrivate`: only for who has its credentials. `isBroken`: it answers 503. */
export async function openRegistry(
  way: { readonly isPrivate?: boolean; readonly isBroken?: boolean } = {},
): Promise<Registry> {
  const credentials = { username: "user", password: "pass:word" };
  const blobs = makeImage();
  const server = createServer((request, response) => {
    answer({ request, response, blobs, way, credentials });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    host,
    image: `${host}/team/empty:1`,
    credentials,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function answer(call: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly blobs: ReadonlyMap<string, Blob>;
  readonly way: { readonly isPrivate?: boolean; readonly isBroken?: boolean };
  readonly credentials: { readonly username: string; readonly password: string };
}): void {
  const { request, response, blobs, way, credentials } = call;
  const { username, password } = credentials;
  const expected = `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  if (way.isBroken === true) return void response.writeHead(503).end("out of order");
  if (way.isPrivate === true && request.headers.authorization !== expected) {
    return void response.writeHead(401, { "www-authenticate": 'Basic realm="test"' }).end();
  }
  const [, name, kind, key = ""] =
    /^\/v2\/(?:(.+)\/(manifests|blobs)\/(.+))?$/.exec(request.url ?? "") ?? [];
  if (kind === undefined) return void response.writeHead(200).end("{}");
  const blob = name === "team/empty" ? blobs.get(key) : undefined;
  if (blob === undefined) {
    const code = kind === "manifests" ? "MANIFEST_UNKNOWN" : "BLOB_UNKNOWN";
    const body = JSON.stringify({ errors: [{ code, message: "manifest unknown" }] });
    return void response.writeHead(404, { "content-type": "application/json" }).end(body);
  }
  response.writeHead(200, {
    "content-type": blob.type,
    "content-length": blob.bytes.length,
    "docker-content-digest": digestOf(blob.bytes),
  });
  response.end(request.method === "HEAD" ? undefined : blob.bytes);
}

function makeImage(): ReadonlyMap<string, Blob> {
  // Another one each time, so that it is not in the engine yet: an empty archive with a comment.
  const plain = Buffer.concat([Buffer.alloc(1024), Buffer.from(String(performance.now()))]);
  const layer = { type: `${docker}.image.rootfs.diff.tar.gzip`, bytes: gzipSync(plain) };
  const config = {
    type: `${docker}.container.image.v1+json`,
    bytes: Buffer.from(
      JSON.stringify({
        architecture: process.arch === "arm64" ? "arm64" : "amd64",
        os: "linux",
        config: { Entrypoint: ["/no/such"] },
        rootfs: { type: "layers", diff_ids: [digestOf(plain)] },
      }),
    ),
  };
  const describe = ({ type, bytes }: Blob) => ({
    mediaType: type,
    size: bytes.length,
    digest: digestOf(bytes),
  });
  const type = `${docker}.distribution.manifest.v2+json`;
  const manifest = {
    type,
    bytes: Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: type,
        config: describe(config),
        layers: [describe(layer)],
      }),
    ),
  };
  return new Map([
    ["1", manifest],
    ...[manifest, config, layer].map((blob) => [digestOf(blob.bytes), blob] as const),
  ]);
}

const docker = "application/vnd.docker";

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
