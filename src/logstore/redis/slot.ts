/** The slot of a cluster that a key of ASCII letters is in: by what stands between its first braces, or by all of it. */
export function slotOf(key: string): number {
  const begin = key.indexOf("{") + 1;
  const end = begin === 0 ? -1 : key.indexOf("}", begin);
  return checksumOf(end > begin ? key.slice(begin, end) : key) % slotCount;
}

export const slotCount = 16_384;

/** CRC-16 as XMODEM has it. */
function checksumOf(text: string): number {
  let sum = 0;
  for (let at = 0; at < text.length; at++) {
    sum = ((sum << 8) & 0xff_ff) ^ (table[((sum >> 8) ^ text.charCodeAt(at)) & 0xff] ?? 0);
  }
  return sum;
}

const table = Array.from({ length: 256 }, (_, byte) => {
  let sum = byte << 8;
  for (let bit = 0; bit < 8; bit++) sum = (sum << 1) ^ (sum & 0x80_00 ? 0x1_10_21 : 0);
  return sum & 0xff_ff;
});
