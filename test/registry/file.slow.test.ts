import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { eventsOf, folderForTest, named, start } from "./ground.ts";

let folder: string;
beforeEach(() => {
  folder = folderForTest();
});

describe("the file of providers", () => {
  const file = (text: string): { HODEI_PROVIDERS_FILE: string } => {
    const path = join(folder, "providers.yaml");
    writeFileSync(path, text);
    return { HODEI_PROVIDERS_FILE: path };
  };

  test("is what holds for its providers after every start", async () => {
    const first = await start(
      folder,
      file(`
- name: one
  type: process
  maxWorkers: 2
  labels: { zone: a }
  runtimes: [python, node]
  price: { cpuCore: 0.5 }
- { name: two, type: process, enabled: false }
`),
    );
    const { client } = first;
    // Where there are others, this machine's processes are not switched on by themselves.
    expect(named(await client.providers.list())).toEqual(["one", "two"]);
    expect(await client.providers.get("one")).toMatchObject({
      source: "file",
      maxWorkers: 2,
      labels: { zone: "a" },
      runtimes: ["python", "node"],
      pricePerHour: { cpuCore: 0.5, memoryGib: 0, gpu: 0 },
    });
    expect(await client.providers.get("two")).toMatchObject({ isEnabled: false });
    await expect(client.providers.remove("one")).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("HODEI_PROVIDERS_FILE"),
    });
    await client.providers.disable("one");
    await client.providers.update("one", { priority: 5 });
    await first.stop();

    const again = await start(folder, file("- { name: one, type: process, maxWorkers: 3 }"));
    expect(await again.client.providers.list()).toMatchObject([
      { name: "one", isEnabled: false, priority: 0, maxWorkers: 3, labels: {} },
    ]);
  });

  test.for([
    ["- { name: x, type: process, colour: red }", "x: colour: is not a field"],
    ["- { name: x, type: process, price: { cpu: 1 } }", "x: price.cpu: is not a field"],
    ["- { name: x, type: process, config: { a: 1 } }", "x: config.a: is not a setting"],
    ["- { name: x, type: kubernetes, config: { namespace: [] } }", "x: config.namespace: "],
    ["- { name: x, type: vm }", "x: type: has to be"],
    ["- { type: process }", "entry 1: name: "],
    ["- { name: x, type: process, maxWorkers: 0.5 }", "x: max_workers: has to be"],
    ["[{ name: x, type: process }, { name: x, type: process }]", "x: is there twice"],
    ["{ name: x }", "is not a list"],
    ["[", "is neither YAML nor JSON"],
  ])("%s is refused: %s", async ([text = "", problem]) => {
    const broken = start(folder, file(text));
    await expect(broken).rejects.toMatchObject({
      code: "invalid_argument",
      message: expect.stringContaining(`HODEI_PROVIDERS_FILE: ${problem}`),
    });
  });

  test("a provider of it that cannot be opened is kept, and the server runs", async () => {
    const { client } = await start(
      folder,
      file("- { name: x, type: kubernetes, config: { kubeconfig: /nowhere/kubeconfig } }"),
    );
    expect(await client.providers.get("x")).toMatchObject({
      health: "unhealthy",
      reason: expect.stringContaining("cannot read the kubeconfig /nowhere/kubeconfig"),
    });
    const seen = async () =>
      expect(await eventsOf(client, "x")).toContain("health unknown unhealthy");
    await vi.waitFor(seen, { timeout: 8_000, interval: 50 });
  });
});
