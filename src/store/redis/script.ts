import { createHash } from "node:crypto";
import { luaAccess } from "./lua-access.ts";
import { luaBase, luaRun } from "./lua-base.ts";
import { luaDispatch } from "./lua-dispatch.ts";
import { luaJobs } from "./lua-jobs.ts";
import { luaQueue } from "./lua-queue.ts";
import { luaReplicas } from "./lua-replicas.ts";
import { luaWorkers } from "./lua-workers.ts";

export interface Script {
  readonly text: string;
  readonly hash: string;
}

/** What jobs go through, all the time: a script that has less costs less to begin. */
const often = [luaQueue, luaJobs, luaDispatch];
const oftenScript = assemble(often);
const wholeScript = assemble([...often, luaWorkers, luaAccess, luaReplicas]);
const oftenSteps = new Set(
  often.flatMap((part) => [...part.matchAll(/^steps\.(\w+) =/gm)].map(([, name]) => name)),
);

export const scripts: readonly Script[] = [oftenScript, wholeScript];

/** The smallest script that can do all of the steps. Terms are known to the whole one only. */
export function scriptFor(
  steps: readonly { readonly name: string; readonly term: string }[],
): Script {
  return steps.every(({ name, term }) => term === "" && oftenSteps.has(name))
    ? oftenScript
    : wholeScript;
}

function assemble(parts: readonly string[]): Script {
  const text = writeNumbers([luaBase, ...parts, luaRun].join(""));
  return { text, hash: createHash("sha1").update(text).digest("hex") };
}

/** Writes names of numbers, such as `local STATE, VERSION = 1, 2`, as the numbers: a variable would be one more for every function that reads it. */
function writeNumbers(lua: string): string {
  const numbers = new Map<string, string>();
  const rest = lua.replaceAll(
    /^local ([A-Z][\w, ]*) = ([\d, ]+)$/gm,
    (_line, names: string, values: string) => {
      const each = values.split(", ");
      names.split(", ").forEach((name, at) => numbers.set(name, each[at] ?? "nil"));
      return "";
    },
  );
  return rest.replaceAll(/\b[A-Z]\w+\b/g, (word) => numbers.get(word) ?? word);
}
