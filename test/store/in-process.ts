import { HodeiError } from "#error.ts";
import { Batches, methods, type Method } from "#store/sqlite/batch.ts";
import { Core } from "#store/sqlite/core.ts";
import { openDatabase } from "#store/sqlite/schema.ts";
import type { Store } from "#store/store.ts";

/** The embedded store without its thread, which takes long to start. */
export function openInProcess(path: string): Store {
  const db = openDatabase(path);
  const batches = new Batches(new Core(db));
  const call =
    (method: Method) =>
    async (...args: unknown[]) => {
      const [answer] = batches.run([{ method, args: structuredClone(args) }]);
      if (answer?.kind === "value") return structuredClone(answer.value);
      throw new HodeiError(answer?.code ?? "data_loss", answer?.message ?? "no answer");
    };
  const calls = Object.fromEntries(methods.map((method) => [method, call(method)]));
  const close = () => Promise.resolve(db.close());
  return { ...(calls as Pick<Store, Method>), [Symbol.asyncDispose]: close };
}
