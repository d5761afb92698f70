import { setTimeout as wait } from "node:timers/promises";
import type { Dispatcher } from "undici";
import type { Logger } from "#telemetry.ts";
import type { KubernetesConfig } from "./config.ts";
import { clusterOf, type KubeFiles, loadKubeConfig } from "./credentials.ts";
import { errorOf, KubeError } from "./kube-error.ts";
import { Link } from "./link.ts";
import { codeOf, lines } from "./watch-lines.ts";

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** `/api/v1/namespaces/a/pods`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** JSON unless given. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** False: whatever comes, the call is made once. */
  readonly retry?: boolean;
}

export interface ReadCall {
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** One cluster's API. */
export interface Connection extends AsyncDisposable {
  readonly server: string;
  /** That of the kubeconfig's context. */
  readonly defaultNamespace: string;
  /** Calls so far, repeated ones included, watches not. */
  readonly calls: number;

  /**
   * Makes a call and answers its object. Rejects with a `KubeError`. A call that says "too many" is made again, and so is one that can be repeated
   * when the server was not ready or gave no answer, but not after its time-out; a create whose answer was lost is not, and its error says
   * `isOutcomeUnknown`.
   */
  request<T>(call: Call): Promise<T>;

  /** The lines of a watch, until the server ends it or the signal aborts; a silent one ends with a `KubeError`. */
  stream(call: ReadCall & { readonly signal: AbortSignal }): Promise<AsyncIterable<string>>;

  /** The text of a pod's log. */
  text(call: ReadCall): Promise<string>;

  /** Nothing is repeated any more, and what is still under way after `graceMs` is given up. */
  endWithin(graceMs: number): void;
}

export interface ConnectionOptions {
  readonly log: Logger;
  readonly files?: KubeFiles;
  /** Between 0 and 1. */
  readonly random?: () => number;
  /** Told of each try of a call; watches are none. */
  readonly onCall?: (call: AnsweredCall) => void;
}

/** One try of a call, as far as it may be counted: no names. */
export interface AnsweredCall {
  readonly method: Call["method"];
  /** `pods`, `secrets`. */
  readonly resource: string;
  /** Zero: no answer. */
  readonly status: number;
  readonly seconds: number;
}

const maxTries = 5;
const firstBackoffMs = 200;
const maxBackoffMs = 5_000;
/** A server that asks for more is not waited for. */
const maxRetryAfterMs = 30_000;

/** Connects to the cluster that the configuration means. Calls nothing yet; throws where the kubeconfig cannot be used. */
export async function openConnection(
  config: KubernetesConfig,
  options: ConnectionOptions,
): Promise<Connection> {
  const load = () => loadKubeConfig(config, options.files);
  const cluster = clusterOf(load(), config.allowInsecure);
  const link = await Link.open({ cluster, load, config });
  return new PooledConnection(link, config, options);
}

class PooledConnection implements Connection {
  readonly server: string;
  readonly defaultNamespace: string;
  readonly #link: Link;
  readonly #config: KubernetesConfig;
  readonly #log: Logger;
  readonly #random: () => number;
  readonly #stop = new AbortController();
  #isEnding = false;
  readonly #onCall: (call: AnsweredCall) => void;
  #calls = 0;

  constructor(link: Link, config: KubernetesConfig, options: ConnectionOptions) {
    this.server = link.cluster.server.href.replace(/\/$/, "");
    this.defaultNamespace = link.cluster.namespace;
    this.#link = link;
    this.#config = config;
    this.#log = options.log;
    this.#random = options.random ?? Math.random;
    this.#onCall = options.onCall ?? (() => undefined);
  }

  get calls(): number {
    return this.#calls;
  }

  async request<T>(call: Call): Promise<T> {
    const text = await this.#repeat(call, "application/json");
    try {
      // What the API server promises of the path is the caller's to know.
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new KubeError({
        call: nameOf(call),
        status: 0,
        message: "the answer is no JSON",
        isOutcomeUnknown: call.method !== "GET",
        cause,
      });
    }
  }

  text(call: ReadCall): Promise<string> {
    return this.#repeat({ method: "GET", ...call }, "*/*");
  }

  async stream(call: ReadCall & { readonly signal: AbortSignal }): Promise<AsyncIterable<string>> {
    const get: Call = { method: "GET", ...call };
    const signal = AbortSignal.any([call.signal, this.#stop.signal]);
    const answer = await this.#send(get, {
      accept: "application/json",
      signal: call.signal,
      isStream: true,
    });
    if (answer.statusCode !== 200) throw await this.#refusal(get, answer);
    return lines(nameOf(get), answer.body, signal);
  }

  endWithin(graceMs: number): void {
    this.#isEnding = true;
    setTimeout(() => this.#stop.abort(), graceMs).unref();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#link[Symbol.asyncDispose]();
  }

  async #repeat(call: Call, accept: string): Promise<string> {
    const startedAt = performance.now();
    for (let tries = 1; ; tries++) {
      try {
        return await this.#once(call, accept);
      } catch (error) {
        if (!(error instanceof KubeError) || !mayRepeat(call, error) || tries >= maxTries) {
          throw error;
        }
        if (call.signal?.aborted || this.#isEnding || this.#stop.signal.aborted) throw error;
        const pauseMs = this.#pauseMs(error, tries);
        if (pauseMs === undefined) throw error;
        // A server that keeps all connections waiting would keep the caller for all of the tries.
        if (performance.now() - startedAt + pauseMs >= this.#timeoutMs(call)) throw error;
        this.#log.debug({ call: error.call, status: error.status, pauseMs }, "call repeated");
        const signals = [this.#stop.signal, ...(call.signal === undefined ? [] : [call.signal])];
        await wait(pauseMs, undefined, { signal: AbortSignal.any(signals) });
      }
    }
  }

  /** Undefined: longer than anybody waits. */
  #pauseMs(error: KubeError, tries: number): number | undefined {
    const backoffMs = Math.min(maxBackoffMs, firstBackoffMs * 2 ** (tries - 1));
    const jitteredMs = Math.round(backoffMs * (0.5 + this.#random() / 2));
    if (error.retryAfterMs === undefined) return jitteredMs;
    // All who were sent away would be back at the same moment.
    return error.retryAfterMs > maxRetryAfterMs ? undefined : error.retryAfterMs + jitteredMs;
  }

  async #once(call: Call, accept: string): Promise<string> {
    this.#calls++;
    const startedAt = performance.now();
    const answered = (status: number): void => {
      const { method, path } = call;
      const seconds = (performance.now() - startedAt) / 1_000;
      this.#onCall({ method, resource: resourceOf(path), status, seconds });
    };
    let answer: Dispatcher.ResponseData;
    try {
      answer = await this.#send(call, { accept, signal: call.signal, isStream: false });
    } catch (error) {
      if (!call.signal?.aborted) answered(0);
      throw error;
    }
    answered(answer.statusCode);
    if (answer.statusCode < 200 || answer.statusCode > 299) throw await this.#refusal(call, answer);
    return this.#read(call, answer);
  }

  async #send(
    call: Call,
    how: { accept: string; signal: AbortSignal | undefined; isStream: boolean },
  ): Promise<Dispatcher.ResponseData> {
    const credentials = await this.#link.credentials();
    const answer = await this.#dispatch(call, how);
    if (answer.statusCode !== 401) return answer;
    // Tokens run out between two looks at them; a second refusal is meant.
    await answer.body.dump();
    await this.#link.renew(credentials);
    return this.#dispatch(call, how);
  }

  async #dispatch(
    call: Call,
    how: { accept: string; signal: AbortSignal | undefined; isStream: boolean },
  ): Promise<Dispatcher.ResponseData> {
    const timeoutMs = this.#timeoutMs(call);
    const { signal: stop } = this.#stop;
    const headers: Record<string, string> = { accept: how.accept };
    if (call.body !== undefined) headers["content-type"] = call.contentType ?? "application/json";
    try {
      return await this.#link.send(
        {
          method: call.method,
          path: call.path + queryOf(call),
          headers,
          body: call.body === undefined ? null : JSON.stringify(call.body),
          headersTimeout: timeoutMs,
          bodyTimeout: how.isStream ? this.#config.watchIdleTimeoutMs : timeoutMs,
          signal: how.signal === undefined ? stop : AbortSignal.any([how.signal, stop]),
        },
        how.isStream ? "watches" : "calls",
      );
    } catch (cause) {
      if (call.signal?.aborted) throw cause;
      throw lost(call, cause);
    }
  }

  #timeoutMs(call: Call): number {
    return call.timeoutMs ?? this.#config.requestTimeoutMs;
  }

  async #read(call: Call, answer: Dispatcher.ResponseData): Promise<string> {
    try {
      return await answer.body.text();
    } catch (cause) {
      if (call.signal?.aborted) throw cause;
      throw lost(call, cause);
    }
  }

  async #refusal(call: Call, answer: Dispatcher.ResponseData): Promise<KubeError> {
    const retryAfter = answer.headers["retry-after"];
    return errorOf({
      call: nameOf(call),
      status: answer.statusCode,
      body: await this.#read(call, answer),
      retryAfter: typeof retryAfter === "string" ? retryAfter : undefined,
      isOutcomeUnknown: call.method !== "GET" && answer.statusCode >= 500,
    });
  }
}

/** The kind of thing that a path is about: `pods` of `/api/v1/namespaces/a/pods/b/log`. */
export function resourceOf(path: string): string {
  const [, resource] =
    /^\/(?:api\/v1|apis\/[^/]+\/[^/]+)\/(?:namespaces\/[^/]+\/)?([a-z]+)/.exec(path) ?? [];
  return resource ?? "other";
}

function nameOf({ method, path }: Call): string {
  return `${method} ${path}`;
}

function queryOf({ method, query }: Call): string {
  const params = new URLSearchParams(query);
  const isWrite = method === "POST" || method === "PUT" || method === "PATCH";
  // Otherwise a misspelt field is dropped, and the object is not what was asked for.
  if (isWrite && !params.has("fieldValidation")) params.set("fieldValidation", "Strict");
  return params.size === 0 ? "" : `?${params.toString()}`;
}

/** Codes of errors before anything was sent. */
const neverSent = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);

function lost(call: Call, cause: unknown): KubeError {
  const code = codeOf(cause);
  const message = cause instanceof Error && cause.message !== "" ? cause.message : "no answer";
  return new KubeError({
    call: nameOf(call),
    status: 0,
    reason: code,
    message: `no answer from the API server: ${message}`,
    isOutcomeUnknown: call.method !== "GET" && !neverSent.has(code),
    cause,
  });
}

function mayRepeat(call: Call, error: KubeError): boolean {
  if (call.retry === false) return false;
  // The server says this before it looks at the call.
  if (error.status === 429) return true;
  const isPassing = error.status === 0 || [500, 502, 503, 504].includes(error.status);
  return isPassing && (call.method !== "POST" || (error.status === 0 && !error.isOutcomeUnknown));
}
