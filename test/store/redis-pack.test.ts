import fc from "fast-check";
import { expect, test } from "vitest";
import { pack, unpack, type Packable, type Unpacked } from "#store/redis/pack.ts";

const { value } = fc.letrec<{ value: Packable }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.string({ unit: "binary", maxLength: 300 }),
    fc.maxSafeInteger(),
    // What is packed has no negative zero.
    fc.double({ noNaN: true }).map((number) => number + 0),
    fc.boolean(),
    fc.constant(undefined),
    fc.uint8Array({ maxLength: 70_000 }),
    fc.array(tie("value"), { maxLength: 20 }),
  ),
}));

/** Absence is `false`, and texts are bytes. */
function asUnpacked(given: Packable): Unpacked {
  if (typeof given === "string") return Buffer.from(given);
  if (given instanceof Uint8Array) return Buffer.from(given);
  if (Array.isArray(given)) return (given as Packable[]).map(asUnpacked);
  return typeof given === "number" || given === true ? given : false;
}

test("what was packed is unpacked", () => {
  fc.assert(
    fc.property(fc.array(value), (values) => {
      expect(unpack(pack(...values))).toEqual(values.map(asUnpacked));
    }),
    { numRuns: 300 },
  );
});

test("numbers of every size are unpacked as cmsgpack writes them", () => {
  const bytes = Buffer.from(
    "cc80cdffffceffffffffcf001fffffffffffffd080d18000d280000000d3ffe0000000000001e0ca3f800000",
    "hex",
  );
  const wide = [128, 65_535, 4_294_967_295, Number.MAX_SAFE_INTEGER];
  const negative = [-128, -32_768, -2_147_483_648, Number.MIN_SAFE_INTEGER, -32];
  expect(unpack(bytes)).toEqual([...wide, ...negative, 1]);
});

test("what it never wrote is refused", () => {
  expect(() => unpack(Buffer.from([0xc1]))).toThrow("not its own");
});
