import type { V1Container, V1Toleration } from "@kubernetes/client-node";
import {
  defaultsOf,
  type HpaConfig,
  type KubernetesConfig,
  type NamesProfile,
  type PodAffinity,
  type PodSecurityStandard,
  type Quantity,
  type SecurityContext,
  type WorkerVolume,
} from "./config.ts";
import { checkKubernetesConfig } from "./config-check.ts";
import { parseQuantity } from "./quantity.ts";

type Writable<Value> = { -readonly [Key in keyof Value]: Value[Key] };

/** Makes a configuration step by step, for servers that embed the provider. What is not said keeps the default of the profile. */
export class KubernetesConfigBuilder {
  readonly #given: Partial<Writable<KubernetesConfig>> = {};
  readonly #defaults: KubernetesConfig;

  constructor(names: NamesProfile = "standard") {
    this.#defaults = defaultsOf(names);
  }

  namespace(name: string): this {
    return this.#set({ namespace: name });
  }

  kubeconfigPath(path: string): this {
    return this.#set({ kubeconfigPath: path });
  }

  context(name: string): this {
    return this.#set({ context: name });
  }

  serviceAccount(name: string): this {
    return this.#set({ serviceAccount: name });
  }

  image(name: string): this {
    return this.#set({ image: name });
  }

  instance(id: string): this {
    return this.#set({ instance: id });
  }

  addBaseLabel(key: string, value: string): this {
    return this.#set({ baseLabels: { ...this.#now("baseLabels"), [key]: value } });
  }

  addBaseAnnotation(key: string, value: string): this {
    return this.#set({ baseAnnotations: { ...this.#now("baseAnnotations"), [key]: value } });
  }

  addNodeSelector(key: string, value: string): this {
    return this.#set({ nodeSelector: { ...this.#now("nodeSelector"), [key]: value } });
  }

  addToleration(toleration: V1Toleration): this {
    return this.#set({ tolerations: [...this.#now("tolerations"), toleration] });
  }

  addPodAffinity(affinity: PodAffinity): this {
    return this.#set({ podAffinity: [...this.#now("podAffinity"), affinity] });
  }

  addPodAntiAffinity(affinity: PodAffinity): this {
    return this.#set({ podAntiAffinity: [...this.#now("podAntiAffinity"), affinity] });
  }

  addImagePullSecret(name: string): this {
    return this.#set({ imagePullSecrets: [...this.#now("imagePullSecrets"), name] });
  }

  addVolume(volume: WorkerVolume): this {
    return this.#set({ volumes: [...this.#now("volumes"), volume] });
  }

  addInitContainer(container: V1Container): this {
    return this.#set({ initContainers: [...this.#now("initContainers"), container] });
  }

  addSidecar(container: V1Container): this {
    return this.#set({ sidecars: [...this.#now("sidecars"), container] });
  }

  defaultCpuRequest(quantity: Quantity): this {
    return this.#set({ defaultCpuRequest: quantity });
  }

  defaultMemoryRequest(quantity: Quantity): this {
    return this.#set({ defaultMemoryRequest: quantity });
  }

  defaultCpuLimit(quantity: Quantity): this {
    return this.#set({ defaultCpuLimit: quantity });
  }

  defaultMemoryLimit(quantity: Quantity): this {
    return this.#set({ defaultMemoryLimit: quantity });
  }

  ttlSecondsAfterFinished(seconds: number): this {
    return this.#set({ ttlSecondsAfterFinished: seconds });
  }

  creationTimeoutSeconds(seconds: number): this {
    return this.#set({ creationTimeoutSeconds: seconds });
  }

  maxWorkers(count: number): this {
    return this.#set({ maxWorkers: count });
  }

  podSecurityStandard(level: PodSecurityStandard): this {
    return this.#set({ podSecurityStandard: level });
  }

  securityContext(context: Partial<SecurityContext>): this {
    return this.#set({ securityContext: { ...this.#now("securityContext"), ...context } });
  }

  /** Whether every tenant has a namespace of its own. */
  enableDynamicNamespaces(isEnabled: boolean): this {
    return this.#set({ dynamicNamespaces: isEnabled });
  }

  /** The same with trailing dashes and without. */
  namespacePrefix(prefix: string): this {
    return this.#set({ namespacePrefix: prefix });
  }

  enableHpa(isEnabled: boolean): this {
    return this.#set({ enableHpa: isEnabled });
  }

  hpaConfig(hpa: Partial<HpaConfig>): this {
    return this.#set({ hpa: { ...this.#now("hpa"), ...hpa } });
  }

  /** Whatever has no step of its own. */
  with(more: Partial<KubernetesConfig>): this {
    return this.#set(more);
  }

  /** Error: `invalid_argument`, naming each wrong field. */
  build(): KubernetesConfig {
    const config = { ...this.#defaults, ...this.#given };
    const { defaultCpuRequest, defaultMemoryRequest } = config;
    const defaultCpuLimit =
      this.#given.defaultCpuLimit ?? larger(config.defaultCpuLimit, defaultCpuRequest);
    const defaultMemoryLimit =
      this.#given.defaultMemoryLimit ?? larger(config.defaultMemoryLimit, defaultMemoryRequest);
    return checkKubernetesConfig({
      ...config,
      defaultCpuLimit,
      defaultMemoryLimit,
      // Containers of others in the namespace get what a worker gets, unless told otherwise.
      limitRange: this.#given.limitRange ?? {
        ...config.limitRange,
        defaultCpu: defaultCpuLimit,
        defaultMemory: defaultMemoryLimit,
        defaultRequestCpu: defaultCpuRequest,
        defaultRequestMemory: defaultMemoryRequest,
      },
    });
  }

  #now<Key extends keyof KubernetesConfig>(key: Key): KubernetesConfig[Key] {
    return { ...this.#defaults, ...this.#given }[key];
  }

  #set(given: Partial<KubernetesConfig>): this {
    Object.assign(this.#given, given);
    return this;
  }
}

/** A limit of the profile gives way to what was asked for. */
function larger(limit: Quantity, request: Quantity): Quantity {
  return (parseQuantity(request) ?? 0) > (parseQuantity(limit) ?? 0) ? request : limit;
}
