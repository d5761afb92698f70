import { expect, test } from "vitest";
import { folderForTest, kubeconfig, secret, start } from "./ground.ts";

test.for([
  ["no bytes", "HODEI_ENCRYPTION_KEY: has to be 32 bytes"],
  [Buffer.alloc(16).toString("base64"), "HODEI_ENCRYPTION_KEY: has to be 32 bytes"],
])("%s are no key", async ([key = "", problem]) => {
  await expect(start(folderForTest(), { HODEI_ENCRYPTION_KEY: key })).rejects.toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining(problem ?? ""),
  });
});

test("a kubeconfig that would start a program is refused, and said nothing of", async () => {
  const { client, logged } = await start(folderForTest());
  const credentials = { kubeconfig: kubeconfig({ user: { exec: { command: "sh" } } }) };
  const wish = { name: "far", type: "kubernetes", credentials } as const;
  const error = await client.providers.register(wish).catch((cause: Error) => cause);
  expect(error).toMatchObject({
    code: "INVALID_ARGUMENT",
    message: expect.stringContaining("kubeconfig: users[0].user.exec: "),
  });
  expect([JSON.stringify(error), ...logged].filter((text) => text.includes(secret))).toEqual([]);
});
