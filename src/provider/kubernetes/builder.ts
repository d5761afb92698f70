import type { Provider } from "#provider/provider.ts";
import { createLogger, type Logger } from "#telemetry.ts";
import { defaultKubernetesConfig, type KubernetesConfig } from "./config.ts";
import { checkKubernetesConfig } from "./config-check.ts";
import { openKubernetesProvider } from "./kubernetes-provider.ts";

/** Opens a provider step by step, for servers that embed it. */
export class KubernetesProviderBuilder {
  #name = "kubernetes";
  #config: KubernetesConfig = defaultKubernetesConfig;
  #env: Readonly<Record<string, string>> = {};
  #log: Logger | undefined;

  /** Unique among a server's providers. */
  withProviderId(name: string): this {
    this.#name = name;
    return this;
  }

  withConfig(config: KubernetesConfig): this {
    this.#config = config;
    return this;
  }

  /** What agents get beside their own settings. */
  withEnv(env: Readonly<Record<string, string>>): this {
    this.#env = env;
    return this;
  }

  withLog(log: Logger): this {
    this.#log = log;
    return this;
  }

  /** Error: `invalid_argument` where the configuration is wrong. */
  async build(): Promise<Provider> {
    const config = checkKubernetesConfig(this.#config);
    return openKubernetesProvider({
      name: this.#name,
      config,
      instanceId: config.instance,
      env: this.#env,
      log: this.#log ?? createLogger("warn"),
    });
  }
}
