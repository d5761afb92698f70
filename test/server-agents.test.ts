import { expect, test, vi } from "vitest";
import type { WorkerId } from "#job/id.ts";
import type { Provider } from "#provider/provider.ts";
import { agentHooks } from "#server-agents.ts";
import { openMemoryStore } from "#store/memory/open.ts";
import { createLogger } from "#telemetry.ts";
import { newWorker, workerId } from "./conformance/store/make.ts";
import { ScriptedProvider } from "./fake/provider.ts";

class AttestingProvider extends ScriptedProvider {
  readonly asked: unknown[] = [];
  answer: () => Promise<boolean> = async () => true;

  async attest(worker: { readonly id: WorkerId; readonly uid: string }, token: string) {
    this.asked.push({ ...worker, token });
    return this.answer();
  }
}

async function ground(provider: Provider) {
  const store = openMemoryStore();
  await store.planWorkers([newWorker(1, { provider: provider.name })], Date.now());
  return {
    store,
    hooks: agentHooks({ store, providers: () => [provider], log: createLogger("silent") }),
  };
}

test("a worker's provider is asked with the uid that its create call returned", async () => {
  const provider = new AttestingProvider();
  const { store, hooks } = await ground(provider);
  const early = hooks.attest(workerId(1), "t");
  await expect(early).rejects.toMatchObject({ code: "unavailable" });
  await store.recordCreated(workerId(1), "uid-1", Date.now());
  expect(await hooks.attest(workerId(1), "t")).toBe(true);
  expect(provider.asked).toEqual([{ id: workerId(1), uid: "uid-1", token: "t" }]);
  provider.answer = () => Promise.reject(new Error("403"));
  await expect(hooks.attest(workerId(1), "t")).rejects.toMatchObject({ code: "unavailable" });
});

test("unknown workers, and those of a provider that attests nobody, are not attested", async () => {
  const provider = new AttestingProvider();
  const { hooks } = await ground(provider);
  expect(await hooks.attest(workerId(9), "t")).toBe(false);
  const plain = await ground(new ScriptedProvider());
  expect(await plain.hooks.attest(workerId(1), "t")).toBe(false);
  expect(provider.asked).toEqual([]);
});

test("what held a token is removed once it is redeemed, and a failure of that is nobody's trouble", async () => {
  const provider = new ScriptedProvider();
  const { hooks } = await ground(provider);
  hooks.onRedeemed(workerId(1));
  await vi.waitFor(() => expect(provider.forgotten).toEqual([workerId(1)]));
  provider.forgetToken = () => Promise.reject(new Error("403"));
  hooks.onRedeemed(workerId(1));
  hooks.onRedeemed(workerId(9));
});
