import type { Readable, Writable } from "node:stream";

/** A control plane that lives in this process. */
export interface LocalServer extends AsyncDisposable {
  readonly address: string;
  /** Leaves its log behind, and says where. */
  readonly keepLog: () => string;
}

/** Everything that the command is given from outside; `main.ts` fills it in, tests replace it. */
export interface Host {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly stdin: Readable;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Calls the listener every time that the user asks for an end. */
  readonly onInterrupt: (listener: () => void) => Disposable;
  readonly startLocalServer: () => Promise<LocalServer>;
  /** Serves until it is stopped; gives the exit code. */
  readonly serve: () => Promise<number>;
  readonly runAgent: () => Promise<number>;
}

export interface Output extends Writable {
  readonly isTTY?: boolean;
  readonly columns?: number;
}
