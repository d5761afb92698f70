import { vi } from "vitest";

import { Machines, type MachineOptions } from "../fake/kubernetes/machines.ts";
import { Objects, type Pod } from "../fake/kubernetes/objects.ts";
import { Tokens } from "../fake/kubernetes/tokens.ts";

export const namespace = "rec";

/** Storage, scheduler, controllers and kubelets, with nobody between: what the API would check is not checked. */
export class World implements AsyncDisposable {
  readonly objects = new Objects();
  readonly tokens = new Tokens(this.objects);
  readonly machines: Machines;

  constructor(options: Partial<MachineOptions> = {}) {
    this.machines = new Machines({
      objects: this.objects,
      issueToken: (request) => this.tokens.issue(request),
      ...options,
    });
    this.objects.create("namespaces", { metadata: { name: namespace } });
  }

  /** A pod whose `worker` runs that script. */
  createPod(
    name: string,
    script: string,
    more: {
      readonly spec?: Partial<NonNullable<Pod["spec"]>>;
      readonly container?: Partial<NonNullable<Pod["spec"]>["containers"][number]>;
      readonly metadata?: object;
    } = {},
  ): Pod {
    const image = "alpine:latest";
    const command = ["sh", "-c", script];
    return this.objects.create("pods", {
      metadata: { ...more.metadata, name, namespace },
      spec: {
        restartPolicy: "Never",
        terminationGracePeriodSeconds: 1,
        containers: [{ name: "worker", image, command, ...more.container }],
        ...more.spec,
      },
      status: { phase: "Pending", qosClass: "BestEffort" },
    });
  }

  pod(name: string): Pod {
    const pod = this.objects.get("pods", name, namespace);
    if (pod === undefined) throw new Error(`no pod ${name}`);
    return pod;
  }

  find(name: string): Pod | undefined {
    return this.objects.get("pods", name, namespace);
  }

  deletePod(name: string, graceSeconds?: number): void {
    this.objects.delete("pods", { name, namespace }, { graceSeconds });
  }

  /** Polls until the pod is so. */
  async until(name: string, isSo: (pod: Pod) => boolean): Promise<Pod> {
    return eventually(() => {
      const pod = this.pod(name);
      if (!isSo(pod)) throw new Error(`not yet: ${JSON.stringify(pod.status)}`);
      return pod;
    });
  }

  async untilPhase(name: string, phase: string): Promise<Pod> {
    return this.until(name, ({ status }) => status?.phase === phase);
  }

  async untilGone(name: string): Promise<void> {
    await eventually(() => {
      if (this.find(name) !== undefined) throw new Error(`${name} is still there`);
    });
  }

  async log(name: string, container = "worker"): Promise<string> {
    const lines: Buffer[] = [];
    for await (const line of this.machines.readLog({ name, namespace }, container) ?? []) {
      lines.push(line);
    }
    return Buffer.concat(lines).toString();
  }

  reasons(name: string): string[] {
    return this.objects
      .list("events", namespace)
      .filter(({ involvedObject }) => involvedObject.name === name)
      .map(({ reason }) => reason ?? "");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machines[Symbol.asyncDispose]();
  }
}

/** Polls until it does not throw; generous, since the machine may be busy. */
export async function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 8_000, interval: 10 });
}

export function waitsFor(reason: string): (pod: Pod) => boolean {
  return ({ status }) =>
    status?.containerStatuses?.some(({ state }) => state?.waiting?.reason === reason) === true;
}
