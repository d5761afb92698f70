import { type DestinationStream, type Logger as PinoLogger, pino } from "pino";

export type Logger = PinoLogger;

export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

/** JSON lines on `destination` (default: standard output). Fields that may hold a secret are cut out here, not at the call sites. */
export function createLogger(level: LogLevel, destination?: DestinationStream): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: secretFields.flatMap((field) => [field, `*.${field}`]),
        censor: "[redacted]",
      },
    },
    destination ?? pino.destination(1),
  );
}

const secretFields = ["otp", "session", "secret", "token", "authorization", "env", "stdin"];
