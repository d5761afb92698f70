import {
  type Bindings,
  type ChildLoggerOptions,
  type DestinationStream,
  type Logger as PinoLogger,
  pino,
} from "pino";

export type Logger = PinoLogger;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** JSON lines on `destination` (default: standard output). Fields that may hold a secret are cut out here, however deep they are, not at the call sites. */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  const log = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      depthLimit,
      formatters: { log: redactFields },
      serializers: { err: (error: Error) => redact(pino.stdSerializers.err(error), 1) },
    },
    destination ?? pino.destination(1),
  );
  // No formatter of pino's sees what a child is bound to.
  const child: unknown = Reflect.get(log, "child");
  if (typeof child !== "function") throw new Error("pino has no children any more");
  return Object.assign(log, {
    child(this: Logger, bindings: Bindings, options?: ChildLoggerOptions): Logger {
      return Reflect.apply(child, this, [redactFields(bindings), options]) as Logger;
    },
  });
}

/** Nothing deeper is written. */
const depthLimit = 5;

const secretFields: ReadonlySet<string> = new Set([
  "otp",
  "session",
  "secret",
  "token",
  "password",
  "authorization",
  "credentials",
  "kubeconfig",
  "env",
  "stdin",
]);

function redactFields(fields: Record<string, unknown>): Record<string, unknown> {
  return redactObject(fields, 0);
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null || depth > depthLimit) return value;
  // Errors have a serializer; what says by itself how it is written has no fields.
  if (value instanceof Error || ("toJSON" in value && typeof value.toJSON === "function")) {
    return value;
  }
  if (Array.isArray(value)) return value.map((item: unknown) => redact(item, depth + 1));
  return redactObject(value as Record<string, unknown>, depth);
}

/** The same object where nothing is to be cut out. */
function redactObject(fields: Record<string, unknown>, depth: number): Record<string, unknown> {
  let copy: Record<string, unknown> | undefined;
  for (const [name, value] of Object.entries(fields)) {
    const shown = secretFields.has(name) ? "[redacted]" : redact(value, depth + 1);
    if (shown === value) continue;
    copy ??= { ...fields };
    copy[name] = shown;
  }
  return copy ?? fields;
}
