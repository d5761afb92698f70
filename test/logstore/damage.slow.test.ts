import { expect, test } from "vitest";
import { cutEverywhere, flipEverywhere } from "./damage.ts";

test("a journal that ends anywhere is cut to whole batches, and takes the rest again", async () => {
  expect(await cutEverywhere(1)).toBeGreaterThan(200);
});

test("a journal with a wrong bit anywhere gives no wrong byte, tells what is missing, and goes on", async () => {
  expect(await flipEverywhere(7)).toBeGreaterThan(100);
});
