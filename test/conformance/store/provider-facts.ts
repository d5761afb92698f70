import { describe, expect, test } from "vitest";
import type { NewProvider, NewProviderEvent, Store } from "#store/store.ts";
import { plainTerms } from "#worker/provider-record.ts";
import { dawn, day, newWorker, workerId } from "./make.ts";

export function newProvider(name: string, change: Partial<NewProvider> = {}): NewProvider {
  const who = { id: `p${name}`, name, type: "process", source: "api" } as const;
  return { ...plainTerms, ...who, config: {}, secret: undefined, ...change };
}

function event(change: Partial<NewProviderEvent> = {}): NewProviderEvent {
  const what = { provider: "one", kind: "health", from: "healthy", to: "unhealthy" } as const;
  const more = { at: dawn, reason: "no answer", actor: "", expiresAt: dawn + day };
  return { ...what, ...more, ...change };
}

const firstPage = { pageSize: 2, pageToken: undefined };

export function providerFacts(current: () => Store): void {
  describe("providers", () => {
    test("a provider is kept as it was given", async () => {
      const secret = new Uint8Array([1, 2, 3]);
      const given = newProvider("one", {
        secret,
        config: { namespace: "a", tolerations: [{ key: "x" }] },
        labels: { zone: "a" },
        runtimes: ["python"],
        pricePerHour: { cpuCore: 1, memoryGib: 2, gpu: 3 },
        maxWorkers: 7,
      });
      const added = await current().addProvider(given, dawn);
      expect(added).toEqual({ ...given, version: 1, createdAt: dawn, updatedAt: dawn });
      const found = await current().findProvider("one");
      expect({ ...found, secret: [...(found?.secret ?? [])] }).toEqual({
        ...added,
        secret: [...secret],
      });
      const plain = await current().addProvider(newProvider("two"), dawn);
      expect(await current().findProvider("two")).toEqual(plain);
      expect(await current().findProvider("three")).toBeUndefined();
    });

    test("two providers never have one name", async () => {
      await current().addProvider(newProvider("one"), dawn);
      const again = current().addProvider(newProvider("one", { id: "p2" }), dawn);
      await expect(again).rejects.toMatchObject({ code: "already_exists" });
      expect(await current().findProvider("one")).toMatchObject({ id: "pone" });
    });

    test("providers are listed by name, page by page", async () => {
      for (const name of ["c", "a", "b"]) await current().addProvider(newProvider(name), dawn);
      const first = await current().listProviders(firstPage);
      expect(first.rows.map((row) => row.name)).toEqual(["a", "b"]);
      const next = await current().listProviders({
        pageSize: 2,
        pageToken: first.nextPageToken,
      });
      expect(next.rows.map((row) => row.name)).toEqual(["c"]);
      expect(next.nextPageToken).toBeUndefined();
    });

    test("a change replaces what it names, and only of the version that it was made for", async () => {
      await current().addProvider(newProvider("one", { priority: 3 }), dawn);
      const set = { isEnabled: false, maxWorkers: undefined };
      const changed = await current().changeProvider({ name: "one", version: 1, set }, dawn + 1);
      expect(changed).toMatchObject({ version: 2, isEnabled: false, priority: 3 });
      expect(changed.updatedAt).toBe(dawn + 1);
      const late = current().changeProvider({ name: "one", version: 1, set: {} }, dawn + 2);
      await expect(late).rejects.toMatchObject({ code: "aborted" });
      const any = { name: "one", version: undefined, set: { priority: 9 } };
      expect(await current().changeProvider(any, dawn)).toMatchObject({ version: 3, priority: 9 });
      const none = current().changeProvider({ ...any, name: "two" }, dawn);
      await expect(none).rejects.toMatchObject({ code: "not_found" });
    });

    test("a provider stays while workers of it are not over", async () => {
      await current().addProvider(newProvider("one"), dawn);
      await current().planWorkers(
        [newWorker(1, { provider: "one" }), newWorker(2, { provider: "one" }), newWorker(3)],
        dawn,
      );
      await expect(current().removeProvider("one")).rejects.toMatchObject({
        code: "failed_precondition",
        message: "provider one has 2 live workers",
      });
      const end = { failure: undefined, expiresAt: dawn + day };
      for (const id of [1, 2]) await current().endWorker(workerId(id), end, dawn);
      await current().removeProvider("one");
      expect(await current().findProvider("one")).toBeUndefined();
      const again = current().removeProvider("one");
      await expect(again).rejects.toMatchObject({ code: "not_found" });
    });

    test("its history is listed newest first, is bounded, and goes with it", async () => {
      await current().addProvider(newProvider("one"), dawn);
      const many = Array.from({ length: 510 }, (_, at) => event({ at: dawn + at }));
      await current().appendProviderEvents([...many, event({ provider: "unknown" })]);
      const first = await current().listProviderEvents({ provider: "one", ...firstPage });
      expect(first.rows.map((row) => row.at)).toEqual([dawn + 509, dawn + 508]);
      const rest = await current().listProviderEvents({
        provider: "one",
        pageSize: 900,
        pageToken: first.nextPageToken,
      });
      expect(rest.rows).toHaveLength(498);
      const whole = { pageSize: 9, pageToken: undefined };
      const unknown = await current().listProviderEvents({ provider: "unknown", ...whole });
      expect(unknown.rows).toEqual([]);
      await current().removeProvider("one");
      const gone = await current().listProviderEvents({ provider: "one", ...whole });
      expect(gone.rows).toEqual([]);
    });

    test("its state is what was saved last, and goes with it", async () => {
      for (const name of ["b", "a"]) await current().addProvider(newProvider(name), dawn);
      expect(await current().listProviderStates()).toEqual([]);
      const state = (provider: string, at: number) => ({ provider, at, data: `{"at": ${at}}` });
      await current().saveProviderStates([state("b", dawn), state("a", dawn + 1)]);
      await current().saveProviderStates([state("b", dawn + 2), state("unknown", dawn)]);
      expect(await current().listProviderStates()).toEqual([
        state("a", dawn + 1),
        state("b", dawn + 2),
      ]);
      await current().removeProvider("b");
      expect(await current().listProviderStates()).toEqual([state("a", dawn + 1)]);
      await current().addProvider(newProvider("b"), dawn);
      expect(await current().listProviderStates()).toEqual([state("a", dawn + 1)]);
    });

    test("its history expires", async () => {
      await current().addProvider(newProvider("one"), dawn);
      await current().appendProviderEvents([event(), event({ expiresAt: dawn + 2 * day })]);
      expect(await current().expire(dawn + day - 1, 9)).toBe(0);
      expect(await current().expire(dawn + day, 9)).toBe(1);
      const left = await current().listProviderEvents({ provider: "one", ...firstPage });
      expect(left.rows).toHaveLength(1);
    });
  });
}
