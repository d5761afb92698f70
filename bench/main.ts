import { parseArgs } from "node:util";
import type { Question, Result } from "./harness.ts";
import { printResults } from "./print.ts";

/** Every question in the order in which a full run asks it. */
const questions = [
  "submit",
  "jobs",
  "commands",
  "latency",
  "memory",
  "store",
  "redis-store",
  "replicas",
  "upload",
  "redis-logs",
  "records",
  "fanout",
  "idle",
  "blocking",
  "agent",
  "renewal",
  "kubernetes",
  "placement",
] as const;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: "string", default: "3" }, list: { type: "boolean", default: false } },
});
const unknown = positionals.filter((name) => !questions.some((known) => known === name));
if (unknown.length > 0) {
  console.error(`no such question: ${unknown.join(", ")}; there are ${questions.join(", ")}`);
  process.exit(64);
}

const results: Result[] = [];
let failures = 0;
for (const name of positionals.length > 0 ? positionals : questions) {
  const { question } = (await import(`./${name}.ts`)) as { question: Question };
  if (values.list) {
    console.log(`${name.padEnd(10)} ${question.asks}`);
    continue;
  }
  console.error(`${name}: ${question.asks}`);
  const startedAt = performance.now();
  const answer = await question.run({ rounds: Number(values.rounds) }).catch((error: unknown) => {
    failures++;
    console.error(error);
    return [];
  });
  console.error(`${name}: ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  results.push(...answer);
  if (answer.length > 0) printResults(answer);
}
if (!values.list && positionals.length !== 1) printResults(results);
for (const result of results) console.log(JSON.stringify(result));
process.exitCode = failures > 0 ? 1 : 0;
