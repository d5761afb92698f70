import { startUnderInit } from "./init.ts";
import type { AgentEnv } from "./settings.ts";
import { isSpawner } from "./spawner-program.ts";

/** Runs the agent as its environment says; resolves with the exit code. The first SIGTERM ends it politely, the second kills its jobs. */
export async function agentMain(env: AgentEnv): Promise<number> {
  // In the bundle this file is the spawner's too, which must not pay for all that the agent loads.
  const { runHere } = await import("./run.ts");
  return runHere(env);
}

if (import.meta.main && !isSpawner) {
  startUnderInit();
  // Deprecations inside of libraries are nothing that whoever reads a container's log could act on.
  process.noDeprecation = true;
  process.exit(await agentMain(process.env));
}
