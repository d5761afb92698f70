/** A closed loop: so many calls in flight for so long. */
export interface Load {
  readonly inFlight: number;
  readonly ms: number;
}

export interface LoadResult {
  readonly perSecond: number;
  readonly count: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Keeps so many calls in flight until the time is over, then waits for the last ones. Only what ended within the time counts. */
export async function spin(load: Load, call: () => Promise<unknown>): Promise<LoadResult> {
  const times: number[] = [];
  const startedAt = performance.now();
  const until = startedAt + load.ms;
  let total = 0;
  const turn = async (): Promise<void> => {
    for (let at = performance.now(); at < until;) {
      await call();
      total++;
      const now = performance.now();
      if (now <= until) times.push(now - at);
      at = now;
    }
  };
  await Promise.all(Array.from({ length: load.inFlight }, turn));
  return {
    perSecond: (times.length / load.ms) * 1000,
    count: total,
    p50Ms: quantile(times, 0.5),
    p99Ms: quantile(times, 0.99),
  };
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which that part of the values lies. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  if (sorted.length === 0) return NaN;
  const at = (sorted.length - 1) * part;
  const low = sorted[Math.floor(at)] ?? NaN;
  const high = sorted[Math.ceil(at)] ?? NaN;
  return low + (high - low) * (at - Math.floor(at));
}

/** So many calls in all, so many of them in flight. */
export interface Lot {
  readonly count: number;
  readonly inFlight: number;
}

export async function inLots(lot: Lot, call: () => Promise<unknown>): Promise<void> {
  let left = lot.count;
  const turn = async (): Promise<void> => {
    while (left > 0) {
      left--;
      await call();
    }
  };
  await Promise.all(Array.from({ length: lot.inFlight }, turn));
}

/** Calls at a steady rate, in bursts no longer than the timer's own grain. */
export async function pace(
  load: { readonly perSecond: number; readonly count: number },
  call: () => Promise<unknown>,
): Promise<void> {
  const startedAt = performance.now();
  const all: Promise<unknown>[] = [];
  while (all.length < load.count) {
    const due = Math.min(
      load.count,
      Math.floor(((performance.now() - startedAt) / 1000) * load.perSecond) + 1,
    );
    while (all.length < due) all.push(call());
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await Promise.all(all);
}
