import { setTimeout as wait } from "node:timers/promises";
import { HodeiError } from "#error.ts";
import { type Engine, statusOf, unlessMissing } from "./engine.ts";

const pollMs = 50;
const mostPolls = 400;

/** Kills what runs in the container and removes it. Resolves once nothing of it is left, also when somebody else removes it. */
export async function removeContainer(engine: Engine, idOrName: string): Promise<void> {
  const container = engine.calls.getContainer(idOrName);
  for (let poll = 0; poll < mostPolls; poll++) {
    try {
      await container.remove({ force: true, v: true });
      return;
    } catch (error) {
      const status = statusOf(error);
      if (status === 404) return;
      // Somebody removes it at this moment.
      if (status !== 409) throw error;
    }
    await wait(pollMs);
    if ((await unlessMissing(container.inspect())) === undefined) return;
  }
  throw new HodeiError("unavailable", `container ${idOrName} cannot be removed`);
}
