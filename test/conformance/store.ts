import { afterEach, beforeEach, describe } from "vitest";
import type { Store } from "#store/store.ts";
import { accessFacts } from "./store/access-facts.ts";
import { dispatchFacts } from "./store/dispatch-facts.ts";
import { jobFacts } from "./store/job-facts.ts";
import { providerFacts } from "./store/provider-facts.ts";
import { workerFacts } from "./store/worker-facts.ts";

/** Every sentence of `Store`, as facts that hold for the store that `open` gives; each test gets an empty one. */
export function storeConformance(name: string, open: () => Promise<Store>): void {
  describe(`${name} store`, () => {
    let store: Store;
    beforeEach(async () => {
      store = await open();
    });
    afterEach(() => store[Symbol.asyncDispose]());
    const current = () => store;
    jobFacts(current);
    dispatchFacts(current);
    workerFacts(current);
    accessFacts(current);
    providerFacts(current);
  });
}
