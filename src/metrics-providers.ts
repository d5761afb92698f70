import { Gauge, type Registry } from "prom-client";
import { counter, histogram } from "./metrics-parts.ts";

export interface ProviderMetrics {
  providerCircuit(provider: string, state: number): void;
  providerHealth(provider: string, score: number): void;
  healthChecked(
    provider: string,
    check: { readonly seconds: number; readonly isError: boolean },
  ): void;
  providerGone(provider: string): void;
}

export function countProviders(registry: Registry): ProviderMetrics {
  const registers = [registry];
  const labels = ["provider"] as const;
  const circuit = new Gauge({
    name: "hodei_provider_circuit_state",
    help: "Whether a provider is given work: 0 closed (yes), 1 half open (one start at a time), 2 open (no).",
    labelNames: labels,
    registers,
  });
  const health = new Gauge({
    name: "hodei_provider_health",
    help: "How well a provider is, from 0 (sick) to 1 (well), learned from its starts and its health checks.",
    labelNames: labels,
    registers,
  });
  const name = "hodei_provider_health_check";
  const checks = counter(registry, `${name}_total`, {
    help: "Health checks of providers.",
    labels,
  });
  const errors = counter(registry, `${name}_errors_total`, {
    help: "Health checks that found a provider unhealthy or got no answer.",
    labels,
  });
  const duration = histogram(registry, `${name}_duration_seconds`, {
    help: "How long health checks of providers took.",
    labels,
    buckets: [0.001, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5],
  });
  return {
    providerCircuit: (provider, state) => circuit.set({ provider }, state),
    providerHealth: (provider, score) => health.set({ provider }, score),
    healthChecked(provider, { seconds, isError }) {
      checks.inc({ provider });
      errors.inc({ provider }, isError ? 1 : 0);
      duration.observe({ provider }, seconds);
    },
    providerGone(provider) {
      for (const metric of [circuit, health, checks, errors, duration]) metric.remove({ provider });
    },
  };
}
