const suffixes: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};
const pattern =
  /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E))?$/;
const binary = [
  ["Ti", 2 ** 40],
  ["Gi", 2 ** 30],
  ["Mi", 2 ** 20],
  ["Ki", 2 ** 10],
] as const;

/** The number that a Kubernetes quantity says (cores, bytes, pieces); undefined when it is none. */
export function parseQuantity(text: string): number | undefined {
  const [, digits, exponent, suffix] = pattern.exec(text.trim()) ?? [];
  if (digits === undefined) return undefined;
  const number = Number(`${digits}${exponent ?? ""}`) * (suffixes[suffix ?? ""] ?? 1);
  return Number.isFinite(number) ? number : undefined;
}

/** Thousandths of a core, rounded up like the API server does. */
export function parseMillis(text: string): number | undefined {
  const cores = parseQuantity(text);
  // A product of decimals is off by a little: 0.1 + 0.2 cores are 300 millis, not 301.
  return cores === undefined ? undefined : Math.ceil(Number((cores * 1000).toFixed(6)));
}

/** Whole bytes, rounded up. */
export function parseBytes(text: string): number | undefined {
  const bytes = parseQuantity(text);
  return bytes === undefined ? undefined : Math.ceil(bytes);
}

/** Thousandths of a core as a quantity: whole cores plainly, otherwise in millis. */
export function formatMillis(millis: number): string {
  return millis % 1000 === 0 ? String(millis / 1000) : `${Math.ceil(millis)}m`;
}

/** Bytes as a quantity in the largest binary unit that is exact. */
export function formatBytes(bytes: number): string {
  const whole = Math.ceil(bytes);
  for (const [suffix, size] of binary) {
    if (whole >= size && whole % size === 0) return `${whole / size}${suffix}`;
  }
  return String(whole);
}
