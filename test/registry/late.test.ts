import { afterEach, expect, test, vi } from "vitest";
import { workerIdOf } from "#job/id.ts";
import type { ProviderEvent } from "#provider/provider.ts";
import { LateProvider, type OpenProvider } from "#server-provider-late.ts";
import { ScriptedProvider } from "../fake/provider.ts";

const who = { name: "far", type: "scripted" };
const refuses = async (): Promise<never> => {
  throw new Error("no kubeconfig");
};

function stageOf(number: number): ProviderEvent {
  const workerId = workerIdOf(number);
  return { kind: "stage", workerId, stage: "pulling", message: `event ${number}` };
}

afterEach(() => {
  vi.useRealTimers();
});

test("what cannot be opened is unhealthy, and is opened later when it is asked how it is", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const inner = new ScriptedProvider({ name: "far", maxWorkers: 7 });
  let isThere = false;
  const open = vi.fn<OpenProvider>(async () => (isThere ? inner : refuses()));
  await using late = await LateProvider.openLate(who, open);
  const problem = { state: "unhealthy", reason: "cannot be opened: no kubeconfig" };
  expect(await late.health()).toEqual(problem);
  expect(late.capacity()).toEqual({ maxWorkers: 0 });
  expect(await late.confirmDead(workerIdOf(1), "uid")).toBe("unknown");
  await expect(late.listWorkers()).rejects.toMatchObject({ code: "unavailable" });
  isThere = true;
  expect(await late.health()).toEqual(problem);
  expect(open).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(15_000);
  expect(await late.health()).toEqual({ state: "healthy", reason: "" });
  expect(late.capacity()).toEqual({ maxWorkers: 7 });
  expect(open).toHaveBeenCalledTimes(2);
});

test("one that must be there is an error where it is not", async () => {
  await expect(LateProvider.openNow(who, refuses)).rejects.toThrow("no kubeconfig");
});

test("who watches goes on with what takes the inside's place", async () => {
  const first = new ScriptedProvider({ name: "far" });
  const second = new ScriptedProvider({ name: "far" });
  const disposed = vi.spyOn(first, Symbol.asyncDispose);
  await using late = await LateProvider.openLate(who, refuses);
  const stop = new AbortController();
  const events = late.watch(stop.signal);
  const one = events.next();
  await late.replace(first, async () => first);
  first.emit(stageOf(1));
  expect((await one).value).toMatchObject({ message: "event 1" });
  const two = events.next();
  await late.replace(second, async () => second);
  expect(disposed).toHaveBeenCalledTimes(1);
  second.emit(stageOf(2));
  expect((await two).value).toMatchObject({ message: "event 2" });
  const end = events.next();
  stop.abort();
  expect(await end).toEqual({ done: true, value: undefined });
});
