/** The JSON values of a stream of lines. Throws when the stream breaks off; whatever is no JSON is left out. */
export async function* readJsonLines(stream: NodeJS.ReadableStream): AsyncGenerator {
  let rest = "";
  stream.setEncoding("utf8");
  for await (const chunk of stream) {
    const lines = `${rest}${String(chunk)}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      const value = parse(line);
      if (value !== undefined) yield value;
    }
  }
  const last = parse(rest);
  if (last !== undefined) yield last;
}

function parse(line: string): unknown {
  try {
    return line.trim() === "" ? undefined : (JSON.parse(line) as unknown);
  } catch {
    return undefined;
  }
}
