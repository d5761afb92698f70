import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { HodeiError } from "#error.ts";
import { type BindAddress, hostPort } from "#rpc/listen.ts";
import type { Logger } from "#telemetry.ts";

export interface HttpOptions {
  readonly address: BindAddress;
  readonly log: Logger;
  readonly readMetrics: () => Promise<{ readonly type: string; readonly text: string }>;
  /** Undefined: all is well. Otherwise what is not. */
  readonly checkLive: () => string | undefined;
  readonly checkReady: () => string | undefined;
  readonly checkStarted: () => string | undefined;
}

export interface HttpListener extends AsyncDisposable {
  /** `host:port` as bound. */
  readonly address: string;
}

/** Answers `/metrics`, `/health/live`, `/health/ready` and `/health/startup`. No secret and no job is to be seen there. */
export async function listenHttp(options: HttpOptions): Promise<HttpListener> {
  const server = createServer(
    { requestTimeout: 10_000, headersTimeout: 5_000 },
    (request, response) => {
      answer(request, response, options).catch((error: unknown) => {
        options.log.error({ err: error }, "an http request failed by a bug");
        response.destroy();
      });
    },
  );
  server.maxConnections = 256;
  const { host, port } = options.address;
  server.listen(port, host);
  await once(server, "listening").catch((cause: unknown) => {
    throw new HodeiError("unavailable", `cannot listen on ${hostPort(host, port)}`, { cause });
  });
  return {
    address: hostPort(host, (server.address() as AddressInfo).port),
    async [Symbol.asyncDispose]() {
      if (!server.listening) return;
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: HttpOptions,
): Promise<void> {
  const path = (request.url ?? "").split("?", 1)[0];
  const checks = new Map([
    ["/health", options.checkReady],
    ["/health/live", options.checkLive],
    ["/health/ready", options.checkReady],
    ["/health/startup", options.checkStarted],
  ]);
  const check = checks.get(path ?? "");
  if (check === undefined && path !== "/metrics") return send(response, 404, "not found");
  if (request.method !== "GET" && request.method !== "HEAD") {
    response.setHeader("allow", "GET, HEAD");
    return send(response, 405, "method not allowed");
  }
  if (check === undefined) {
    const { type, text } = await options.readMetrics();
    response.setHeader("content-type", type);
    return send(response, 200, text);
  }
  const problem = check();
  return send(response, problem === undefined ? 200 : 503, problem ?? "ok");
}

function send(response: ServerResponse, code: number, text: string): void {
  response.statusCode = code;
  if (!response.hasHeader("content-type"))
    response.setHeader("content-type", "text/plain; charset=utf-8");
  response.setHeader("cache-control", "no-store");
  response.end(text.endsWith("\n") ? text : `${text}\n`);
}
