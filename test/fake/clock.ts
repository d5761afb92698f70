import { readFileSync } from "node:fs";

// Loaded into a process before everything else: its wall clock is off by as many milliseconds as a file says at that moment. Monotonic clocks are as they are.

const file = process.env["HODEI_TEST_CLOCK"] ?? "";
const RealDate = Date;
let [offset, readAt] = [0, -Infinity];

function now(): number {
  if (performance.now() - readAt > 20) {
    readAt = performance.now();
    try {
      offset = Number(readFileSync(file, "utf8"));
    } catch {
      offset = 0; // Nobody has set it yet.
    }
  }
  return RealDate.now() + offset;
}

globalThis.Date = new Proxy(RealDate, {
  get: (target, name) => (name === "now" ? now : (Reflect.get(target, name) as unknown)),
  construct: (target, args: unknown[], newTarget) =>
    Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget) as object,
  apply: () => new RealDate(now()).toString(),
});
