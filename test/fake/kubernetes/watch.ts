import type { ServerResponse } from "node:http";

import type { History } from "./history.ts";
import type { Change, KubeObject, Objects } from "./objects.ts";
import { isTrue, type ApiRequest } from "./request.ts";
import { apiVersionOf, resourceTypes, type Resource } from "./resources.ts";
import { selectorOf, type Matches } from "./selectors.ts";
import { ApiError, badRequest, cause, expired } from "./status.ts";

interface Live {
  readonly resource: Resource;
  readonly namespace: string;
  readonly response: ServerResponse;
  readonly write: (type: string, object: object) => void;
}

/** All watches that are open; each is one answer that does not end. */
export class Watches {
  private readonly live = new Set<Live>();
  private readonly objects: Objects;
  private readonly history: History;
  private readonly bookmarkMs: () => number;
  /** How long each event is held back. */
  lagMs = 0;

  constructor(objects: Objects, history: History, options: { bookmarkMs: () => number }) {
    this.objects = objects;
    this.history = history;
    this.bookmarkMs = options.bookmarkMs;
  }

  get count(): number {
    return this.live.size;
  }

  /** Breaks the connections of all watches, or of those of one resource. Answers how many. */
  cut(resource?: Resource): number {
    return this.finish(resource, ({ response }) => response.destroy());
  }

  /** Ends them in good order, as a server does after some time. */
  end(resource?: Resource): number {
    return this.finish(resource, ({ response }) => response.end());
  }

  /** Tells them that their place is too old, which ends them. */
  expire(resource?: Resource): number {
    const message = `too old resource version: 1 (${this.history.oldest})`;
    return this.finish(resource, ({ response, write }) => {
      write("ERROR", expired(message).body);
      response.end();
    });
  }

  private finish(resource: Resource | undefined, act: (watch: Live) => void): number {
    const all = [...this.live].filter((one) => resource === undefined || one.resource === resource);
    for (const one of all) {
      this.live.delete(one);
      act(one);
    }
    return all.length;
  }

  open(request: ApiRequest, resource: Resource, response: ServerResponse): void {
    const { query, target } = request;
    if (target.name !== "") query.set("fieldSelector", `metadata.name=${target.name}`);
    const matches = selectorOf(resource, query);
    const { namespace } = target;
    const place = this.placeOf(query);
    response.writeHead(200, {
      "content-type": "application/json",
      "cache-control": "no-cache, private",
    });
    response.flushHeaders();
    const write = (type: string, object: object): void => {
      const line = `${JSON.stringify({ type, object })}\n`;
      if (this.lagMs > 0)
        setTimeout(() => void (response.destroyed || response.write(line)), this.lagMs);
      else response.write(line);
    };
    const past = place.revision === undefined ? [] : this.history.since(place.revision);
    if (past === undefined) {
      const message = `too old resource version: ${place.revision} (${this.history.oldest})`;
      response.end(`${JSON.stringify({ type: "ERROR", object: expired(message).body })}\n`);
      return;
    }
    const isMine = (object: KubeObject): boolean =>
      (namespace === "" || object.metadata.namespace === namespace) && matches(object);
    const tell = (change: Change): void => {
      if (change.resource === resource) tellChange(change, isMine, write);
    };
    const withBookmarks = isTrue(query.get("allowWatchBookmarks"));
    const bookmark = (annotations?: object): void => {
      write("BOOKMARK", bookmarkOf(resource, this.objects.revision, annotations));
    };
    if (place.withState) {
      for (const object of this.objects.list(resource, namespace)) {
        if (matches(object)) write("ADDED", object);
      }
      if (withBookmarks) bookmark({ "k8s.io/initial-events-end": "true" });
    }
    for (const change of past) tell(change);

    const live = { resource, namespace, response, write };
    this.live.add(live);
    const subscription = this.objects.subscribe(tell);
    const ticks = withBookmarks ? setInterval(bookmark, this.bookmarkMs()) : undefined;
    const seconds = Number(query.get("timeoutSeconds") ?? 0);
    const timeout =
      seconds > 0
        ? setTimeout(() => {
            if (withBookmarks) bookmark();
            response.end();
          }, seconds * 1000)
        : undefined;
    response.once("close", () => {
      this.live.delete(live);
      subscription[Symbol.dispose]();
      clearInterval(ticks);
      clearTimeout(timeout);
    });
  }

  /** Where the watch starts: with all there is now, or after a revision. */
  private placeOf(query: URLSearchParams): { revision: number | undefined; withState: boolean } {
    const version = query.get("resourceVersion") ?? "";
    const initial = query.get("sendInitialEvents");
    const match = query.get("resourceVersionMatch");
    if (!/^\d*$/.test(version)) {
      throw badRequest(
        `invalid resource version: resourceVersion: Invalid value: "${version}": strconv.ParseUint: parsing "${version}": invalid syntax`,
      );
    }
    if (initial !== null && match !== "NotOlderThan") {
      throw optionProblem(
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
      );
    }
    if (initial === null && match !== null) {
      throw optionProblem(
        "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
      );
    }
    if (isTrue(initial)) return { revision: undefined, withState: true };
    if (version === "" || version === "0") return { revision: undefined, withState: true };
    const revision = Number(version);
    if (revision > this.objects.revision) {
      throw new ApiError(504, {
        reason: "Timeout",
        message: `Timeout: Too large resource version: ${version}, current: ${this.objects.revision}`,
        details: {
          causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
          retryAfterSeconds: 1,
        },
      });
    }
    return { revision, withState: false };
  }
}

/** An object that comes into or leaves the selection is added or deleted for this watch. */
function tellChange(
  { object, previous, type }: Change,
  matches: Matches,
  write: (type: string, object: object) => void,
): void {
  const isIn = type !== "DELETED" && matches(object);
  const wasIn = previous !== undefined && matches(previous);
  if (isIn) write(wasIn ? "MODIFIED" : "ADDED", object);
  else if (wasIn) write("DELETED", object);
}

function bookmarkOf(resource: Resource, revision: number, annotations?: object): object {
  const type = resourceTypes[resource];
  return {
    kind: type.kind,
    apiVersion: apiVersionOf(type),
    metadata: {
      resourceVersion: String(revision),
      ...(annotations === undefined ? {} : { annotations }),
    },
    ...(resource === "pods" ? { spec: { containers: null }, status: {} } : {}),
  };
}

function optionProblem(why: string): ApiError {
  const problem = cause.forbidden("resourceVersionMatch", why);
  return new ApiError(422, {
    reason: "Invalid",
    message: `ListOptions.meta.k8s.io "" is invalid: ${problem.field}: ${problem.message}`,
    details: { group: "meta.k8s.io", kind: "ListOptions", causes: [problem] },
  });
}
