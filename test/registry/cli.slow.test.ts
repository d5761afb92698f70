import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { expect, test } from "vitest";
import { FakeUser } from "../cli/host.ts";
import { folderForTest, kubeconfig, secret, start } from "./ground.ts";

test("hodei providers manages them", { timeout: 60_000 }, async () => {
  const folder = folderForTest();
  const { server } = await start(folder);
  const env = { HODEI_SERVER: server.address };
  const said: string[] = [];
  const hodei = async (words: string, typed = ""): Promise<string> => {
    const stdin = Readable.from([Buffer.from(typed)]);
    const user = new FakeUser({ host: { env, stdin } });
    const code = await user.run("providers", ...words.split(" "));
    said.push(user.stdout.text, user.stderr.text);
    expect([code, user.stderr.text]).toEqual([0, expect.not.stringContaining("hodei:")]);
    return user.stdout.text;
  };
  const refused = async (words: string, exit: number): Promise<string> => {
    const user = new FakeUser({ host: { env } });
    expect(await user.run("providers", ...words.split(" "))).toBe(exit);
    return user.stderr.text;
  };

  expect(
    await hodei("add second --type process --max-workers 2 --label zone=a --price cpu=0.5,gpu=2"),
  ).toMatch(/^second added \(p[0-9a-f]{16}\)\n$/);
  expect(await hodei("list")).toMatch(
    /^PROVIDER .*\nprocess .*\nsecond +process +healthy +enabled/,
  );
  expect(JSON.parse(await hodei("get second -o json"))).toMatchObject({
    maxWorkers: 2,
    labels: { zone: "a" },
    pricePerHour: { cpuCore: 0.5, memoryGib: 0, gpu: 2 },
  });
  await hodei("update second --runtime node,python");
  expect(await hodei("get second")).toMatch(/^runtimes: +node python$/m);
  const tried = new FakeUser({ host: { env } });
  await tried.run("submit", "--dry-run", "--runtime", "python", "--", "true");
  expect(tried.stdout.text).toMatch(/^second +process +yes +1 /m);
  expect(tried.stdout.text).toMatch(/^process .*lacks the runtime python; it names no runtimes/m);
  const text = await hodei("update second --priority -3 --clear price,max-workers,runtimes");
  expect(text).toMatch(/^priority: +-3$/m);
  expect(text).toMatch(/^most workers: +16$/m);
  expect(text).not.toMatch(/price|worker limit|runtimes/);

  await hodei("add far --type kubernetes --kubeconfig - --disabled", kubeconfig());
  const file = join(folder, "kubeconfig");
  writeFileSync(file, kubeconfig());
  const config = join(folder, "config.json");
  writeFileSync(config, '{"namespace":"builds"}');
  await hodei(`update far --kubeconfig ${file} --config @${config}`);
  expect(await hodei("get far")).toMatch(/^config: +\{"namespace":"builds"\}$/m);
  expect(await hodei("list --disabled")).toMatch(/^PROVIDER .*\nfar .*\n$/);

  expect(await hodei("disable second --reason repair")).toBe("second disabled\n");
  expect(await hodei("enable second")).toBe("second enabled\n");
  expect(await hodei("events second")).toMatch(/ enabled +enabled +disabled .* repair\n/);
  expect(await hodei("stats")).toMatch(/^providers: +3\n/);
  expect(await hodei("remove second far")).toBe("second removed\nfar removed\n");
  expect(said.filter((words) => words.includes(secret))).toEqual([]);
  expect(readFileSync(file, "utf8")).toContain(secret);

  expect(await refused("remove second", 1)).toContain("there is no provider second");
  expect(await refused("remove process", 1)).toContain("one of the server's settings");
  expect(await refused("update process", 64)).toContain("say what is to be changed");
  expect(await refused("add x --type vm", 64)).toContain("--type");
  expect(await refused("add x --type process --price cheap", 64)).toContain("is not a price");
  expect(await refused("add x --type process --config []", 64)).toContain("not a JSON object");
});
