import { parentPort, workerData } from "node:worker_threads";
import { HodeiError } from "#error.ts";
import { Batches, BrokenStore, type Answer, type Call } from "./batch.ts";
import { Core, type CoreOptions } from "./core.ts";
import { lockStore } from "./lock.ts";
import { packAnswers, unpackCalls, type Parcel } from "./parcel.ts";
import { damaged, fullDisk, isDamage, openDatabase } from "./schema.ts";

/** What the thread is started with. */
export interface WorkerInput extends CoreOptions {
  readonly path: string;
}

export type ToWorker =
  { readonly kind: "run"; readonly calls: Parcel<Call> } | { readonly kind: "close" };

export type FromWorker =
  | { readonly kind: "ready" }
  /** It could not be opened. */
  | { readonly kind: "refused"; readonly answer: Answer }
  | { readonly kind: "answers"; readonly answers: Parcel<Answer> }
  /** Nothing more will be answered. */
  | { readonly kind: "broken"; readonly message: string };

function tell(message: FromWorker): void {
  parentPort?.postMessage(
    message,
    message.kind === "answers" ? [message.answers.bytes.buffer] : [],
  );
}

function main(input: WorkerInput): void {
  using parts = new DisposableStack();
  const held = open(input, parts);
  if (held === undefined) return;
  const kept = parts.move();
  const { batches, close } = held;
  parentPort?.on("message", (message: ToWorker) => {
    if (message.kind === "close") {
      close();
      kept.dispose();
      parentPort?.close();
      return;
    }
    try {
      const calls = unpackCalls(message.calls);
      tell({ kind: "answers", answers: packAnswers(calls, batches.run(calls)) });
    } catch (error) {
      const cause = error instanceof BrokenStore ? error.cause : error;
      tell({ kind: "broken", message: cause instanceof Error ? cause.message : String(cause) });
      parentPort?.close();
    }
  });
  tell({ kind: "ready" });
}

function open(
  input: WorkerInput,
  parts: DisposableStack,
): { batches: Batches; close: () => void } | undefined {
  try {
    parts.use(lockStore(input.path));
    const db = openDatabase(input.path);
    parts.defer(() => db.close());
    const batches = new Batches(new Core(db, input));
    return { batches, close: () => db.exec("PRAGMA wal_checkpoint(TRUNCATE)") };
  } catch (error) {
    tell({ kind: "refused", answer: refusal(input.path, error) });
    return undefined;
  }
}

function refusal(path: string, error: unknown): Answer {
  const why = isDamage(error) ? damaged(path, error) : (fullDisk(error) ?? error);
  if (why instanceof HodeiError) {
    return { kind: "error", code: why.code, message: why.message, hint: why.hint };
  }
  const told = why instanceof Error ? why.message : String(why);
  const message = `cannot open the store ${path}: ${told}`;
  return { kind: "error", code: "unavailable", message, hint: undefined };
}

main(workerData as WorkerInput);
