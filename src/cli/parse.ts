import { priorities } from "#client/priority.ts";
import { UsageError } from "./exit.ts";

const durationUnits: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

const sizeUnits: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** Milliseconds of `90s`, `1h30m`, `500ms`, `7d`. */
export function parseDuration(text: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/gy)];
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join("") === text;
  if (!isWhole) throw new UsageError(`${quoted(text)} is not a duration such as 90s, 1h30m or 7d`);
  const ms = parts.reduce(
    (sum, [, count, unit]) => sum + Number(count) * (durationUnits[unit ?? ""] ?? 0),
    0,
  );
  return Math.round(ms);
}

/** Bytes of `128Mi`, `1.5Gi`, `1G`, `4096`. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([kKMGT]i?|)B?$/.exec(text);
  const unit = sizeUnits[match?.[2] ?? "-"];
  if (unit === undefined) throw new UsageError(`${quoted(text)} is not a size such as 128Mi or 1G`);
  return Math.round(Number(match?.[1]) * unit);
}

/** Thousandths of a processor of `0.5` or `500m`. */
export function parseCpu(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(text);
  if (match === null)
    throw new UsageError(`${quoted(text)} is not a number of processors such as 0.5 or 500m`);
  return Math.round(Number(match[1]) * (match[2] === "m" ? 1 : 1000));
}

/** `1` or `a100:2`. */
export function parseGpu(text: string): { gpuCount: number; gpuType: string } {
  const match = /^(?:([^:]+):)?(\d+)$/.exec(text);
  if (match === null)
    throw new UsageError(`${quoted(text)} is not a number of GPUs such as 1 or a100:2`);
  return { gpuCount: Number(match[2]), gpuType: match[1] ?? "" };
}

export function parsePriority(text: string): number {
  if (Object.hasOwn(priorities, text)) return priorities[text as keyof typeof priorities];
  const number = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(Math.abs(number) <= 1000)) {
    const names = Object.keys(priorities).join(", ");
    throw new UsageError(`${quoted(text)} is neither ${names} nor a number from -1000 to 1000`);
  }
  return number;
}

export function parseCount(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new UsageError(`${quoted(text)} is not a whole number`);
  return Number(text);
}

export function parseNames(text: string): string[] {
  const names = text.split(",").map((name) => name.trim());
  if (names.includes("")) throw new UsageError(`${quoted(text)} is not a list such as a,b`);
  return names;
}

export function parseFactor(text: string): number {
  if (!/^\d+(\.\d+)?$/.test(text)) throw new UsageError(`${quoted(text)} is not a number`);
  return Number(text);
}

/** `1,2,75`. */
export function parseExitCodes(text: string): number[] {
  return text.split(",").map((code) => {
    const number = /^\d{1,3}$/.test(code.trim()) ? Number(code) : Number.NaN;
    if (!(number <= 255)) throw new UsageError(`${quoted(code)} is not an exit code from 0 to 255`);
    return number;
  });
}

/** `cpu=0.04,memory=0.005,gpu=1`; what is left out costs nothing. */
export function parsePrices(text: string): { cpuCore: number; memoryGib: number; gpu: number } {
  const prices = { cpu: 0, memory: 0, gpu: 0 };
  for (const part of text.split(",")) {
    const [, unit = "", price] = /^(cpu|memory|gpu)=(\d+(?:\.\d+)?)$/.exec(part.trim()) ?? [];
    if (price === undefined) {
      throw new UsageError(
        `${quoted(part)} is not a price such as cpu=0.04, memory=0.005 or gpu=1`,
      );
    }
    prices[unit as keyof typeof prices] = Number(price);
  }
  return { cpuCore: prices.cpu, memoryGib: prices.memory, gpu: prices.gpu };
}

export type Pairs = Readonly<Record<string, string>>;

/** Adds `KEY=VALUE`; the value may be empty and may hold further `=`. */
export function parsePair(text: string, before: Pairs = {}): Pairs {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError(`${quoted(text)} is not KEY=VALUE`);
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

/** One of `allowed`, or several with commas between. */
export function parseChoices<Choice extends string>(
  text: string,
  allowed: readonly Choice[],
): Choice[] {
  return text.split(",").map((word) => {
    const found = allowed.find((choice) => choice === word.trim());
    if (found === undefined) {
      throw new UsageError(`${quoted(word)} is none of ${allowed.join(", ")}`);
    }
    return found;
  });
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
