/**
 * What a job writes must not command the terminal of whoever reads it: escape sequences could rewrite what is on it, or answer as if
 * typed, and direction marks could show text in another order than it has.
 */
const dangerous = new RegExp(
  `[${range(0x00, 0x08)}${range(0x0b, 0x1f)}${range(0x7f, 0x9f)}${range(0x061c)}${range(0x200e, 0x200f)}` +
    `${range(0x2028, 0x202e)}${range(0x2066, 0x2069)}${range(0xfeff)}${range(0xfff9, 0xfffb)}]`,
  "g",
);
const breaks = /[\n\t]/g;

/** Shows every control and direction character as its escape; line feed and tab are kept, and so is a line that ends with CR LF. */
export function escapeText(text: string): string {
  return text.replaceAll("\r\n", "\n").replace(dangerous, shown);
}

/** `escapeText` for what must stay on one line. */
export function escapeLine(text: string): string {
  return text.replace(breaks, shown).replace(dangerous, shown);
}

/** Escapes a stream of bytes, whose characters may be cut anywhere. */
export function createEscaper(): (bytes: Uint8Array) => string {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return (bytes) => escapeText(decoder.decode(bytes, { stream: true }));
}

function shown(character: string): string {
  const code = character.charCodeAt(0);
  switch (character) {
    case "\n":
      return "\\n";
    case "\t":
      return "\\t";
    case "\r":
      return "\\r";
    default:
      return code < 0x80 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
  }
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, "0");
}

function range(from: number, to = from): string {
  return `\\u${hex(from, 4)}-\\u${hex(to, 4)}`;
}
