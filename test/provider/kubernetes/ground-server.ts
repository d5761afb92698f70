import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { defaultKubernetesConfig, type KubernetesConfig } from "#provider/kubernetes/config.ts";
import { type Connection, openConnection } from "#provider/kubernetes/connection.ts";
import { createLogger } from "#telemetry.ts";

export interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

export type Answer = (seen: Seen, response: ServerResponse) => void | Promise<void>;

/** A server that answers as it is told, and a connection to it. */
export interface TinyApi extends AsyncDisposable {
  readonly url: string;
  readonly directory: string;
  readonly config: KubernetesConfig;
  readonly seen: Seen[];
  connect(more?: Partial<KubernetesConfig>): Promise<Connection>;
}

export const silent = createLogger("silent");

export async function startTinyApi(answer: Answer): Promise<TinyApi> {
  const seen: Seen[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const url = new URL(request.url ?? "/", "http://x");
      const text = Buffer.concat(chunks).toString();
      const one: Seen = {
        method: request.method ?? "",
        path: url.pathname,
        query: url.searchParams,
        headers: request.headers,
        body: text === "" ? undefined : (JSON.parse(text) as unknown),
      };
      seen.push(one);
      void answer(one, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const directory = await mkdtemp(join(tmpdir(), "hodei-kube-"));
  const file = join(directory, "config");
  await writeFile(file, kubeconfig({ server: url }));
  const config = { ...defaultKubernetesConfig, kubeconfigPath: file };
  const connections: Connection[] = [];
  return {
    url,
    directory,
    config,
    seen,
    async connect(more = {}) {
      const connection = await openConnection(
        { ...config, ...more },
        { log: silent, random: () => 0 },
      );
      connections.push(connection);
      return connection;
    },
    async [Symbol.asyncDispose]() {
      for (const connection of connections) await connection[Symbol.asyncDispose]();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(directory, { recursive: true });
    },
  };
}

/** The text of a kubeconfig with one cluster, user and context, all named `a` unless said otherwise. */
export function kubeconfig(given: {
  readonly server: string;
  readonly name?: string;
  readonly cluster?: object;
  readonly user?: object;
  readonly namespace?: string;
}): string {
  const name = given.name ?? "a";
  return stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": name,
    clusters: [{ name, cluster: { server: given.server, ...given.cluster } }],
    users: [{ name, user: given.user ?? { token: "t-1" } }],
    contexts: [{ name, context: { cluster: name, user: name, namespace: given.namespace } }],
  });
}

export function reply(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

/** A refusal as the API server words it. */
export function refuse(
  response: ServerResponse,
  code: number,
  more: { reason?: string; message?: string; details?: object } = {},
): void {
  reply(response, code, {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message: more.message ?? `status ${code}`,
    ...(more.reason !== undefined && { reason: more.reason }),
    ...(more.details !== undefined && { details: more.details }),
    code,
  });
}
