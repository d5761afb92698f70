/** A stream that was let in by a token. */
export interface TokenStream {
  /** When its token ends by itself, in milliseconds since 1970. */
  readonly expiresAt: number | undefined;
  /** Ends the stream with an error. */
  end(): void;
}

/** The streams that are open for each token, so that they end with it. */
export class TokenStreams {
  readonly #open = new Map<string, Set<TokenStream>>();

  /** Gives what is to be called when the stream is over. */
  add(tokenId: string, stream: TokenStream): () => void {
    const streams = this.#open.get(tokenId) ?? new Set();
    this.#open.set(tokenId, streams);
    streams.add(stream);
    return () => {
      streams.delete(stream);
      if (streams.size === 0 && this.#open.get(tokenId) === streams) this.#open.delete(tokenId);
    };
  }

  /** Tokens that have open streams. */
  listTokens(): readonly string[] {
    return [...this.#open.keys()];
  }

  endOf(tokenId: string): void {
    for (const stream of this.#open.get(tokenId) ?? []) stream.end();
  }

  endExpired(now: number): void {
    for (const streams of this.#open.values()) {
      for (const stream of streams) if ((stream.expiresAt ?? Infinity) <= now) stream.end();
    }
  }
}
