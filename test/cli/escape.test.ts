import { describe, expect, test } from "vitest";
import { createEscaper, escapeLine, escapeText } from "#cli/escape.ts";

function allBetween(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, at) => String.fromCharCode(from + at));
}

describe("escapeText", () => {
  test("shows every control character, and keeps line feeds and tabs", () => {
    const controls = [...allBetween(0x00, 0x1f), ...allBetween(0x7f, 0x9f)];
    expect(controls.map(escapeText).join(" ")).toMatchInlineSnapshot(`
      "\\x00 \\x01 \\x02 \\x03 \\x04 \\x05 \\x06 \\x07 \\x08 	 
       \\x0b \\x0c \\r \\x0e \\x0f \\x10 \\x11 \\x12 \\x13 \\x14 \\x15 \\x16 \\x17 \\x18 \\x19 \\x1a \\x1b \\x1c \\x1d \\x1e \\x1f \\x7f \\u0080 \\u0081 \\u0082 \\u0083 \\u0084 \\u0085 \\u0086 \\u0087 \\u0088 \\u0089 \\u008a \\u008b \\u008c \\u008d \\u008e \\u008f \\u0090 \\u0091 \\u0092 \\u0093 \\u0094 \\u0095 \\u0096 \\u0097 \\u0098 \\u0099 \\u009a \\u009b \\u009c \\u009d \\u009e \\u009f"
    `);
  });

  test("shows what changes the direction of text or hides", () => {
    const marks = [
      "\u061c",
      ...allBetween(0x200e, 0x200f),
      ...allBetween(0x2028, 0x202e),
      ...allBetween(0x2066, 0x2069),
      "\ufeff",
    ];
    expect(marks.map(escapeText).join(" ")).toMatchInlineSnapshot(
      `"\\u061c \\u200e \\u200f \\u2028 \\u2029 \\u202a \\u202b \\u202c \\u202d \\u202e \\u2066 \\u2067 \\u2068 \\u2069 \\ufeff"`,
    );
  });

  test.for([
    ["\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"],
    ["\x1b]0;title\x07", "\\x1b]0;title\\x07"],
    ["\x1b]52;c;aGk=\x1b\\", "\\x1b]52;c;aGk=\\x1b\\"],
    ["\u009b2J", "\\u009b2J"],
    ["over\rwritten", "over\\rwritten"],
    ["dos\r\n", "dos\n"],
    ["größe 日本 🎉 a\u0301", "größe 日本 🎉 a\u0301"],
  ] as const)("%j becomes %j", ([text, shown]) => {
    expect(escapeText(text)).toBe(shown);
  });

  test("escapeLine keeps everything on one line", () => {
    expect(escapeLine("a\nb\tc\r\n")).toBe("a\\nb\\tc\\r\\n");
  });

  test("characters that are cut between records stay whole, and bytes that are none are replaced", () => {
    const escape = createEscaper();
    const bytes = Buffer.from("🎉");
    expect(escape(bytes.subarray(0, 2)) + escape(bytes.subarray(2))).toBe("🎉");
    expect(escape(Buffer.from([0x41, 0xff, 0x42]))).toBe("A\ufffdB");
  });
});
