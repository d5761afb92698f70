import type { IncomingMessage, ServerResponse } from "node:http";

import { deleteCollection, deleteObject } from "./delete.ts";
import { discover, isServed } from "./discovery.ts";
import { impersonated, type Identities } from "./identities.ts";
import type { Knobs } from "./knobs.ts";
import type { Lists } from "./list.ts";
import type { Objects } from "./objects.ts";
import { authorize, authorizePath, isAllowed } from "./rbac.ts";
import {
  managerOf,
  resourceOf,
  targetOf,
  verbOf,
  type ApiRequest,
  type Target,
  type User,
} from "./request.ts";
import { resourceTypes, type Resource } from "./resources.ts";
import { review, reviews } from "./reviews.ts";
import { ApiError, methodNotAllowed, pathNotFound } from "./status.ts";
import { bindPod, createEviction, createToken, openLog, type ReadLog } from "./subresources.ts";
import type { Tokens } from "./tokens.ts";
import { patchObject } from "./verbs-patch.ts";
import { createObject, getObject, updateObject, type Answer } from "./verbs.ts";
import type { Watches } from "./watch.ts";

export interface Api {
  readonly objects: Objects;
  readonly tokens: Tokens;
  readonly identities: Identities;
  readonly knobs: Knobs;
  readonly lists: Lists;
  readonly watches: Watches;
  readLog: ReadLog | undefined;
}

/** Answers one call; whatever goes wrong becomes a Status. */
export async function serve(
  api: Api,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await answer(api, incoming, response);
  } catch (error) {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const refusal =
      error instanceof ApiError
        ? error
        : new ApiError(500, {
            reason: "InternalError",
            message: `Internal error occurred: ${error instanceof Error ? (error.stack ?? error.message) : "unknown"}`,
          });
    send(response, { code: refusal.body.code, body: refusal.body }, refusal.headers);
  }
}

async function answer(
  api: Api,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(incoming.url ?? "/", "http://double");
  const user = userOf(api, incoming);
  const target = targetOf(url.pathname);
  if (target === undefined) {
    authorizePath(api.objects, user, url.pathname);
    sendDiscovery(response, url.pathname.replace(/(.)\/$/, "$1"));
    return;
  }
  const verb = verbOf(incoming.method ?? "GET", target, url.searchParams);
  if (verb === undefined) throw methodNotAllowed();
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const request: ApiRequest = {
    verb,
    method: incoming.method ?? "GET",
    path: url.pathname,
    query: url.searchParams,
    target,
    contentType: (incoming.headers["content-type"] ?? "").split(";")[0]?.trim() ?? "",
    body: await readBody(incoming),
    user,
    manager: managerOf(url.searchParams, incoming),
    isDryRun: url.searchParams.get("dryRun") === "All",
    warnings: [],
    signal: gone.signal,
  };
  const call = api.knobs.note(request);
  try {
    const end = await api.knobs.apply(call, gone.signal);
    if (end === "drop") {
      incoming.socket.destroy();
      return;
    }
    authorize(api.objects, user, verb, target);
    if (!isServed(target)) {
      call.status = 404;
      sendDiscovery(response, "");
      return;
    }
    if (verb === "watch") {
      const resource = resourceOf(target) ?? notServed();
      call.status = 200;
      api.watches.open(request, resource, response);
      return;
    }
    const result = await handle(api, request);
    if (end === "lose") {
      incoming.socket.destroy();
      return;
    }
    call.status = "code" in result ? result.code : 200;
    if ("code" in result) send(response, result, warningHeaders(request.warnings));
    else await sendLog(response, result);
  } catch (error) {
    call.status = error instanceof ApiError ? error.body.code : 500;
    throw error;
  }
}

function sendDiscovery(response: ServerResponse, path: string): void {
  const found = discover(path);
  send(response, { code: found === undefined ? 404 : 200, body: found ?? "404 page not found\n" });
}

function userOf(api: Api, incoming: IncomingMessage): User {
  const user = api.identities.authenticate(incoming);
  const other = impersonated(incoming.headers);
  if (other === undefined) return user;
  const attributes = {
    verb: "impersonate",
    group: "",
    resource: "users",
    namespace: "",
    name: other.name,
  };
  if (!isAllowed(api.objects, user, attributes)) {
    throw new ApiError(403, {
      reason: "Forbidden",
      message: `users "${other.name}" is forbidden: User "${user.name}" cannot impersonate resource "users" in API group "" at the cluster scope`,
      details: { name: other.name, kind: "users" },
    });
  }
  return other;
}

async function readBody(incoming: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function notServed(): never {
  throw pathNotFound();
}

async function handle(api: Api, request: ApiRequest): Promise<Answer | AsyncIterable<Buffer>> {
  const { objects, tokens, lists } = api;
  const { target, verb } = request;
  if (reviews.has(target.plural) && target.group.startsWith("auth")) {
    if (verb !== "create") throw methodNotAllowed();
    return review(objects, tokens, request);
  }
  const resource = resourceOf(target) ?? notServed();
  checkScope(resource, target, verb);
  if (target.subresource !== "" && target.subresource !== "status") {
    return subresource(api, resource, request);
  }
  switch (verb) {
    case "get":
      return { code: 200, body: getObject(objects, resource, request) };
    case "list":
    case "watch":
      return { code: 200, body: lists.list(resource, target.namespace, request.query) };
    case "create":
      if (target.name !== "") throw methodNotAllowed();
      return createObject(objects, resource, request);
    case "update":
      return updateObject(objects, resource, request);
    case "patch":
      return patchObject(objects, resource, request);
    case "delete":
      return deleteObject(objects, resource, request);
    case "deletecollection":
      if (resource === "namespaces") throw methodNotAllowed();
      return deleteCollection(objects, resource, request);
  }
}

/** Only lists reach over all namespaces, and nothing but the name leads to one object. */
function checkScope(resource: Resource, target: Target, verb: string): void {
  const { isNamespaced } = resourceTypes[resource];
  if (!isNamespaced && target.namespace !== "") throw pathNotFound();
  const isEverywhere = isNamespaced && target.namespace === "";
  if (isEverywhere && target.name !== "") throw pathNotFound();
  if (isEverywhere && verb !== "list") throw methodNotAllowed();
  if (["update", "patch"].includes(verb) && target.name === "") throw methodNotAllowed();
}

function subresource(
  { objects, tokens, readLog }: Api,
  resource: Resource,
  request: ApiRequest,
): Answer | AsyncIterable<Buffer> {
  const { verb, target } = request;
  switch (`${verb} ${resource}/${target.subresource}`) {
    case "get pods/log":
      return openLog(objects, request, readLog) ?? { code: 204, body: "" };
    case "create pods/eviction":
      return createEviction(objects, request);
    case "create pods/binding":
      return bindPod(objects, request);
    case "create serviceaccounts/token":
      return createToken(objects, tokens, request);
    case "update namespaces/finalize":
      return updateObject(objects, resource, request);
    default:
      throw pathNotFound();
  }
}

function warningHeaders(warnings: readonly string[]): Record<string, string[]> {
  if (warnings.length === 0) return {};
  return { warning: warnings.map((text) => `299 - ${JSON.stringify(text)}`) };
}

function send(
  response: ServerResponse,
  { code, body }: { code: number; body: object | string },
  headers: Readonly<Record<string, string | string[]>> = {},
): void {
  if (response.destroyed) return;
  const text = typeof body === "string" ? body : JSON.stringify(body);
  response.writeHead(code, {
    "content-type": typeof body === "string" ? "text/plain; charset=utf-8" : "application/json",
    "content-length": Buffer.byteLength(text),
    "cache-control": "no-cache, private",
    ...headers,
  });
  response.end(text);
}

async function sendLog(response: ServerResponse, log: AsyncIterable<Buffer>): Promise<void> {
  response.writeHead(200, { "content-type": "text/plain" });
  response.flushHeaders();
  for await (const chunk of log) {
    if (response.destroyed) return;
    response.write(chunk);
  }
  response.end();
}
