import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer as createHttp, type Server } from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo, Socket } from "node:net";

import { serve, type Api } from "./api.ts";
import { Authority } from "./certificates.ts";
import { startControllers } from "./controllers.ts";
import { addDefaultRoles, type Rule } from "./default-roles.ts";
import { History } from "./history.ts";
import { Identities } from "./identities.ts";
import { Knobs } from "./knobs.ts";
import {
  kubeconfigText,
  writeAccountFolder,
  type Identity,
  type KubeconfigOptions,
} from "./kubeconfig.ts";
import { Lists } from "./list.ts";
import { Objects } from "./objects.ts";
import { resourceTypes, type Resource } from "./resources.ts";
import type { ReadLog } from "./subresources.ts";
import { Tokens } from "./tokens.ts";
import { Watches } from "./watch.ts";

export interface KubernetesOptions {
  /** HTTPS with a CA of its own, and client certificates; plain HTTP if false. Default true. */
  readonly tls?: boolean;
  /** Whoever does not sign in is an admin, as behind `kubectl proxy`. */
  readonly anonymousAdmin?: boolean;
  /** False where `Machines` bring their own. */
  readonly controllers?: boolean;
  /** How many changes a watch can go back. Default 10000. */
  readonly historySize?: number;
  /** Between two bookmarks. Default a minute. */
  readonly bookmarkMs?: number;
}

/** A strict API server for tests, on a free port. */
export class KubernetesDouble implements AsyncDisposable {
  readonly objects: Objects;
  readonly tokens: Tokens;
  readonly knobs = new Knobs();
  readonly history: History;
  readonly watches: Watches;
  readonly url: string;
  /** The certificate of its authority; undefined over plain HTTP. */
  readonly ca: string | undefined;
  readonly admin: Identity;
  bookmarkMs: number;
  private readonly identities: Identities;
  private readonly authority: Authority | undefined;
  private readonly api: Api;
  private readonly parts = new AsyncDisposableStack();

  constructor(server: Server, options: KubernetesOptions & { authority: Authority | undefined }) {
    const { authority, anonymousAdmin = false } = options;
    const { port } = server.address() as AddressInfo;
    this.url = `${authority === undefined ? "http" : "https"}://127.0.0.1:${port}`;
    this.authority = authority;
    this.ca = authority?.certificate;
    this.bookmarkMs = options.bookmarkMs ?? 60_000;
    this.objects = new Objects();
    this.tokens = new Tokens(this.objects);
    this.identities = new Identities(this.tokens, { areAnonymousAdmins: anonymousAdmin });
    this.admin = this.user("kubernetes-admin", ["system:masters"]);
    addDefaultRoles(this.objects);
    if (options.controllers ?? true) {
      this.parts.use(
        startControllers(this.objects, this.ca === undefined ? {} : { rootCa: this.ca }),
      );
    }
    for (const name of ["default", "kube-system", "kube-public", "kube-node-lease"]) {
      this.addNamespace(name);
    }
    this.history = this.parts.use(new History(this.objects, options.historySize ?? 10_000));
    this.watches = new Watches(this.objects, this.history, { bookmarkMs: () => this.bookmarkMs });
    this.api = {
      objects: this.objects,
      tokens: this.tokens,
      identities: this.identities,
      knobs: this.knobs,
      lists: new Lists(this.objects),
      watches: this.watches,
      readLog: undefined,
    };
    this.listen(server);
  }

  /** Whoever runs the containers says here what `pods/log` answers. */
  readLogsFrom(readLog: ReadLog): void {
    this.api.readLog = readLog;
  }

  /** Everything before now is too old: for open watches, for new ones, for list tokens. */
  compact(): void {
    this.history.compact();
    this.api.lists.expire();
    this.watches.expire();
  }

  addNamespace(name: string, labels: Record<string, string> = {}): void {
    this.objects.create("namespaces", {
      metadata: { name, labels: { "kubernetes.io/metadata.name": name, ...labels } },
      spec: { finalizers: ["kubernetes"] },
      status: { phase: "Active" },
    });
  }

  /** A user with a bearer token and no rights but those of the groups. */
  user(name: string, groups: readonly string[] = []): Identity {
    const token = randomBytes(16).toString("hex");
    this.identities.addToken(token, { name, groups });
    return { name, token };
  }

  /** From now on the user's calls are answered 401. */
  revoke({ token }: Identity): void {
    if (token !== undefined) this.identities.revokeToken(token);
  }

  /** A user who signs in by certificate; HTTPS only. */
  async certificateUser(name: string, groups: readonly string[] = []): Promise<Identity> {
    if (this.authority === undefined) throw new Error("client certificates need HTTPS");
    return { name, ...(await this.authority.issueClient(name, groups)) };
  }

  /** A service account with rights in all namespaces, and a token of it. */
  serviceAccount(
    namespace: string,
    name: string,
    rules: readonly Rule[] = [],
    expirationSeconds = 86_400,
  ): Identity {
    if (this.objects.get("serviceaccounts", name, namespace) === undefined) {
      this.objects.create("serviceaccounts", { metadata: { name, namespace } });
    }
    if (rules.length > 0) this.grant({ namespace, name }, rules);
    const token = this.tokens.issue({
      namespace,
      serviceAccount: name,
      audiences: [],
      expirationSeconds,
    });
    return { name: `system:serviceaccount:${namespace}:${name}`, token };
  }

  /** Binds rules to an account; in one namespace if `within` says which. */
  grant(account: { namespace: string; name: string }, rules: readonly Rule[], within = ""): void {
    const name = `${account.name}-${randomBytes(3).toString("hex")}`;
    const apiGroup = resourceTypes.roles.group;
    const subjects = [{ kind: "ServiceAccount", ...account }];
    const [role, binding]: [Resource, Resource] =
      within === "" ? ["clusterroles", "clusterrolebindings"] : ["roles", "rolebindings"];
    const metadata = { name, ...(within === "" ? {} : { namespace: within }) };
    const { kind } = resourceTypes[role];
    this.objects.create(role, { metadata, rules });
    this.objects.create(binding, { metadata, subjects, roleRef: { apiGroup, kind, name } });
  }

  kubeconfig(identity: Identity = this.admin, options: KubeconfigOptions = {}): string {
    return kubeconfigText({ url: this.url, ca: this.ca }, identity, options);
  }

  async writeKubeconfig(
    path: string,
    identity: Identity = this.admin,
    options: KubeconfigOptions = {},
  ): Promise<string> {
    await writeFile(path, this.kubeconfig(identity, options), { mode: 0o600 });
    return path;
  }

  /** Token, namespace and `ca.crt`, as a pod finds them. */
  async writeAccountFolder(folder: string, identity: Identity, namespace: string): Promise<void> {
    const content = { token: identity.token ?? "", namespace, ca: this.ca };
    await writeAccountFolder(folder, content);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.disposeAsync();
  }

  private listen(server: Server): void {
    const sockets = new Set<Socket>();
    server.on("connection", (socket: Socket) => {
      if (this.knobs.isRefusing) {
        socket.destroy();
        return;
      }
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      socket.on("error", () => {});
    });
    server.on("request", (request, response) => {
      if (this.knobs.isRefusing) request.socket.destroy();
      else void serve(this.api, request, response);
    });
    this.parts.defer(async () => {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    });
  }
}

export async function startKubernetes(options: KubernetesOptions = {}): Promise<KubernetesDouble> {
  const authority = options.tls === false ? undefined : await Authority.create();
  let server: Server;
  if (authority === undefined) server = createHttp();
  else {
    const { certificate, key } = await authority.issueServer();
    const ca = authority.certificate;
    const own = { cert: certificate, key, ca, requestCert: true, rejectUnauthorized: false };
    server = createHttps(own) as Server;
  }
  server.keepAliveTimeout = 60_000;
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return new KubernetesDouble(server, { ...options, authority });
}
