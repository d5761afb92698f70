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

const form = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([numkMGTPE]|[KMGTPE]i))?$/;

export function isQuantity(text: string): boolean {
  return form.test(text);
}

/** The value of `500m` is 0.5, of `1Ki` 1024; not a number for what is no quantity. */
export function quantityOf(text: string | number | undefined): number {
  const parts = form.exec(String(text ?? "0"));
  if (parts === null) return Number.NaN;
  const [, digits = "0", exponent = "", suffix = ""] = parts;
  const value = Number(`${digits}${exponent}`) * (suffixes[suffix] ?? 1);
  // A sum of milli values must not drift off its text.
  return Math.round(value * 1e9) / 1e9;
}

/** The short text of a sum, in the manner of the resource: `1500m`, `128Mi`, `3`. */
export function quantityText(value: number, like = ""): string {
  if (/[KMGTPE]i$/.test(like) || (value >= 1024 && like === "memory")) {
    for (const suffix of ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki"]) {
      const unit = suffixes[suffix] ?? 1;
      if (value >= unit && Number.isInteger(value / unit)) return `${value / unit}${suffix}`;
    }
  }
  return Number.isInteger(value) ? String(value) : `${Math.ceil(value * 1000)}m`;
}

/** As the API server writes it back: `1000m` is `1`, `0.5` is `500m`, `1024Mi` is `1Gi`. */
export function canonicalQuantity(text: string): string {
  const value = quantityOf(text);
  if (value === 0) return "0";
  const isBinary = text.endsWith("i");
  const units = isBinary
    ? ["Ei", "Pi", "Ti", "Gi", "Mi", "Ki", ""]
    : ["E", "P", "T", "G", "M", "k", "", "m", "u", "n"];
  for (const suffix of units) {
    const count = value / (suffixes[suffix] ?? 1);
    if (Math.abs(count - Math.round(count)) < 1e-6 && Math.abs(count) >= 1) {
      return `${Math.round(count)}${suffix}`;
    }
  }
  return text;
}
