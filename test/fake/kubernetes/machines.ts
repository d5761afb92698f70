import { startControllers } from "./controllers.ts";
import { NodeLife, registerNode, type NodeShape } from "./controllers-nodes.ts";
import { defaultImages, type Image, type Images } from "./kubelet-images.ts";
import type { ContainerLog, LogQuery } from "./kubelet-log.ts";
import type { ContainerProcess } from "./kubelet-process.ts";
import { specOf, type Where } from "./kubelet-types.ts";
import type { IssueToken } from "./kubelet-volumes.ts";
import { Kubelet } from "./kubelet.ts";
import type { Objects } from "./objects.ts";
import { startScheduler } from "./scheduler.ts";
import { fastTimings, type Timings } from "./timings.ts";

export interface MachineOptions {
  readonly objects: Objects;
  readonly issueToken: IssueToken;
  /** One node with room for everybody by default. */
  readonly nodes?: readonly NodeShape[];
  /** Besides `alpine:latest` and `node:24-bookworm-slim`. */
  readonly images?: Images;
  readonly timings?: Partial<Timings>;
  readonly rootCa?: string;
  /** `self` where the users that pods name cannot read the sources that an image runs. */
  readonly runsAs?: "spec" | "self";
}

/** Scheduler, controllers and a kubelet for each node, on one storage. */
export class Machines implements AsyncDisposable {
  readonly #objects: Objects;
  readonly #options: MachineOptions;
  readonly #timings: Timings;
  readonly #parts = new AsyncDisposableStack();
  readonly #kubelets = new Map<string, Kubelet>();
  readonly #life: NodeLife;
  #images: Images;
  #lastIp = 0;

  constructor(options: MachineOptions) {
    this.#objects = options.objects;
    this.#options = options;
    this.#timings = { ...fastTimings, ...options.timings };
    this.#images = { ...defaultImages, ...options.images };
    this.#parts.use(
      startControllers(
        options.objects,
        options.rootCa === undefined ? {} : { rootCa: options.rootCa },
      ),
    );
    this.#life = this.#parts.use(new NodeLife(options.objects, this.#timings));
    for (const shape of options.nodes ?? [{ name: "node1" }]) this.addNode(shape);
    this.#parts.use(startScheduler(options.objects));
  }

  addNode(shape: NodeShape): Kubelet {
    const hostIp = `192.0.2.${this.#kubelets.size + 2}`;
    const kubelet = new Kubelet({
      objects: this.#objects,
      issueToken: this.#options.issueToken,
      name: shape.name,
      hostIp,
      timings: this.#timings,
      images: () => this.#images,
      allocateIp: () => this.#nextIp(),
      isUserKept: this.#options.runsAs !== "self",
    });
    this.#kubelets.set(shape.name, kubelet);
    this.#parts.use(kubelet);
    registerNode(this.#objects, shape, hostIp);
    return kubelet;
  }

  /** What the image does from now on; containers that run go on as they are. */
  setImage(name: string, image: Image): void {
    this.#images = { ...this.#images, [name]: image };
  }

  /** The node's kubelet is not heard of any more. With `dead` nothing runs on it any more either; else its containers go on. */
  async loseNode(name: string, containers: "run" | "dead" = "run"): Promise<void> {
    this.kubelet(name).freeze();
    if (containers === "dead") this.kubelet(name).killAll();
    await this.#life.noteSilence(name);
  }

  async returnNode(name: string): Promise<void> {
    this.kubelet(name).thaw();
    await this.#life.noteReturn(name);
  }

  /** The node is deleted, and with it what the cluster knows of its pods. */
  removeNode(name: string): void {
    this.kubelet(name).killAll();
    this.#life.removeNode(name);
  }

  /** The kubelet ends the pod for want of memory on its node. */
  evictByPressure(where: Where, message?: string): void {
    this.#kubeletOf(where)?.evict(where, message);
  }

  kubelet(name: string): Kubelet {
    const kubelet = this.#kubelets.get(name);
    if (kubelet === undefined) throw new Error(`no node ${name}`);
    return kubelet;
  }

  /** What `pods/log` answers; undefined if the container never ran. Throws if nobody answers for its node. */
  readLog(
    where: Where,
    container: string,
    query: LogQuery & { readonly previous?: boolean } = {},
    signal?: AbortSignal,
  ): AsyncIterable<Buffer> | undefined {
    const kubelet = this.#kubeletOf(where);
    if (kubelet?.isFrozen === true) {
      throw new Error(
        `Get "https://192.0.2.2:10250/containerLogs/${where.namespace}/${where.name}/${container}": dial tcp 192.0.2.2:10250: connect: connection refused`,
      );
    }
    return kubelet?.readLog(where, container, query, signal);
  }

  /** The same, but at once and for tests. */
  log(where: Where, container: string): ContainerLog | undefined {
    return this.#kubeletOf(where)?.log(where, container);
  }

  process(where: Where, container: string): ContainerProcess | undefined {
    return this.#kubeletOf(where)?.process(where, container);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }

  #kubeletOf({ name, namespace }: Where): Kubelet | undefined {
    const pod = this.#objects.get("pods", name, namespace);
    return pod === undefined ? undefined : this.#kubelets.get(specOf(pod).nodeName ?? "");
  }

  #nextIp(): string {
    this.#lastIp += 1;
    return `10.244.${Math.floor(this.#lastIp / 250)}.${(this.#lastIp % 250) + 2}`;
  }
}
