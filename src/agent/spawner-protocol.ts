// What the agent and its spawner say to each other: JSON lines over the spawner's standard input and output.

/** What the agent asks for. `id` ties the answers to it. */
export type Request =
  | {
      readonly op: "start";
      readonly id: number;
      readonly program: string;
      readonly args: readonly string[];
      readonly cwd: string;
      readonly env: Readonly<Record<string, string>>;
      /** Paths that the spawner opens for the process to write to. */
      readonly stdout: string;
      readonly stderr: string;
    }
  | { readonly op: "fifos"; readonly id: number; readonly paths: readonly string[] };

/** What the spawner says. A process that was started is told of twice: when it runs, and when it has ended. */
export type Answer =
  | { readonly op: "ready" }
  | { readonly op: "started"; readonly id: number; readonly pid: number }
  | {
      readonly op: "exited";
      readonly id: number;
      readonly code: number | null;
      readonly signal: NodeJS.Signals | null;
    }
  | { readonly op: "made"; readonly id: number }
  /** It certainly did not happen; `code` is the system's word for why. */
  | { readonly op: "failed"; readonly id: number; readonly code: string; readonly message: string };
