import type { LogRecord } from "#client/client.ts";
import { type Console, write } from "./console.ts";
import { createEscaper, escapeLine } from "./escape.ts";
import type { Output } from "./host.ts";
import { formatSize } from "./table.ts";

export interface PrintOptions {
  /** Write to a terminal what the job wrote, control characters included. */
  readonly raw?: boolean | undefined;
  readonly timestamps?: boolean | undefined;
  /** Also what Hodei says about the attempt. */
  readonly hasSystem: boolean;
}

type Print = (record: LogRecord) => Promise<void>;

/**
 * Writes standard output to standard output and standard error to standard error: byte by byte, unless a terminal reads it, whose
 * commands are escaped.
 */
export function createLogPrinter(console: Console, options: PrintOptions): Print {
  const { host } = console;
  const stdout = createPen(host.stdout, options);
  const stderr = createPen(host.stderr, options);
  return async (record) => {
    const { stream, gap, data } = record;
    if (console.isJson) await console.printJson(recordToJson(record));
    else if (gap !== undefined)
      await console.note(console.colors.yellow(`hodei: ${describe(gap, stream)}`));
    else if (stream === "stdout") await stdout(record);
    else if (stream === "stderr") await stderr(record);
    else if (options.hasSystem) {
      const text = escapeLine(Buffer.from(data).toString().trimEnd());
      await console.note(console.colors.dim(`hodei: ${text}`));
    }
  };
}

/** A record for a program: its bytes as text where they are text. */
export function recordToJson({ data, cursor: _, ...rest }: LogRecord): object {
  const text = textOf(data);
  return {
    type: "log",
    ...rest,
    ...(text === undefined ? { base64: Buffer.from(data).toString("base64") } : { text }),
  };
}

function createPen(output: Output, { raw, timestamps }: PrintOptions): Print {
  const escape = output.isTTY === true && raw !== true ? createEscaper() : undefined;
  let isLineStart = true;
  return async ({ data, time }) => {
    if (timestamps === true && isLineStart) await write(output, `${time.toISOString()} `);
    isLineStart = data.at(-1) === 10;
    await write(output, escape === undefined ? data : escape(data));
  };
}

function describe(
  { records, bytes, reason }: NonNullable<LogRecord["gap"]>,
  stream: string,
): string {
  const size = bytes === 0 ? "" : ` (${formatSize(bytes)})`;
  return `${records === 0 ? "some" : records} records of ${stream}${size} are missing: ${reason}`;
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(data: Uint8Array): string | undefined {
  try {
    return strict.decode(data);
  } catch {
    return undefined;
  }
}
