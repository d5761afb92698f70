/**
 * The addresses in `host:port`, or in several of them between commas: those of the replicas of one server. Throws an error that says what is
 * wrong, for whoever knows where the text is from.
 */
export function addressesIn(text: string): readonly string[] {
  const addresses = text.split(",").map((part) => part.trim());
  for (const address of addresses) {
    const port = Number(/^(?:\[[0-9a-fA-F:.]+\]|[^\s:/[\]]+):(\d{1,5})$/.exec(address)?.[1] ?? 0);
    if (port < 1 || port > 65_535) throw new Error(`${JSON.stringify(address)} is not HOST:PORT`);
  }
  return [...new Set(addresses)];
}

/** The place behind this one, around the end. */
export function placeAfter(place: number, places: number): number {
  return (place + 1) % places;
}
