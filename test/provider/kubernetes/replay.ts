import type { CoreV1Event, V1Pod } from "@kubernetes/client-node";
import { readFileSync } from "node:fs";

/** One line of a recording of a real cluster. */
export interface Recorded {
  readonly line: number;
  readonly ms: number;
  readonly source: "create" | "pods" | "events" | "call" | "nodes";
  readonly type: string;
  readonly object: unknown;
}

export interface Call {
  readonly label: string;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  readonly response: unknown;
}

/** Lines are numbered from 1. */
export function readRecording(name: string): readonly Recorded[] {
  return linesOf(name).map((text, at) => ({ ...(JSON.parse(text) as Recorded), line: at + 1 }));
}

export function readCalls(topic: string): readonly Call[] {
  return linesOf(`call-${topic}`).map((text) => JSON.parse(text) as Call);
}

export function podOf({ source, object }: Recorded): V1Pod | undefined {
  return source === "pods" ? (object as V1Pod) : undefined;
}

export function eventOf({ source, object }: Recorded): CoreV1Event | undefined {
  return source === "events" ? (object as CoreV1Event) : undefined;
}

function linesOf(name: string): readonly string[] {
  const folder = new URL("../../fixtures/kubernetes-1.36/", import.meta.url);
  return readFileSync(new URL(`${name}.jsonl`, folder), "utf8")
    .trimEnd()
    .split("\n");
}
