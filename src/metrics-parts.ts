import { Counter, Histogram, type Registry } from "prom-client";

/** What makes up a metric beside its name and help; no label says nothing of whose. */
export interface Shape<Label extends string = string> {
  readonly help: string;
  readonly labels?: readonly Label[];
}

export function counter<Label extends string>(
  registry: Registry,
  name: string,
  { help, labels = [] }: Shape<Label>,
): Counter<Label> {
  return new Counter({ name, help, labelNames: [...labels], registers: [registry] });
}

export function histogram<Label extends string>(
  registry: Registry,
  name: string,
  { help, labels = [], buckets }: Shape<Label> & { readonly buckets: readonly number[] },
): Histogram<Label> {
  return new Histogram({
    name,
    help,
    labelNames: [...labels],
    buckets: [...buckets],
    registers: [registry],
  });
}

/** Of calls, in seconds. */
export const callBuckets = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;
/** Of starts, in seconds. */
export const startBuckets = [
  0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600,
] as const;
/** Of jobs, in seconds. */
export const jobBuckets = [
  0.05, 0.25, 1, 5, 15, 60, 300, 900, 3_600, 14_400, 43_200, 86_400,
] as const;
