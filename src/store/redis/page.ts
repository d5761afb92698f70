import { HodeiError } from "#error.ts";
import type { Page } from "#store/store.ts";

/** Specs in one page, in bytes; more jobs come with the next one. */
const answerBytes = 8 * 1024 * 1024;

/** Rows looked at for one page. */
export const scanLimit = 2_000;

/** Rows that were looked at, and from where on to look next; `undefined`: there are no more. */
export interface Scan<Row> {
  readonly rows: readonly Row[];
  readonly next: string | undefined;
}

export interface Scanning<Row> {
  readonly pageSize: number;
  readonly from: string | undefined;
  readonly fits: (row: Row) => boolean;
  readonly tokenOf: (row: Row) => string;
  readonly bytesOf?: (row: Row) => number;
}

/** The first rows that fit. There is a next page if another such row, or the limit of what is looked at, comes after them. */
export async function readPage<Row>(
  query: Scanning<Row>,
  scan: (from: string | undefined) => Promise<Scan<Row>>,
): Promise<Page<Row>> {
  const rows: Row[] = [];
  let { from } = query;
  let bytes = 0;
  for (let looked = 0; looked < scanLimit;) {
    const found = await scan(from);
    for (const row of found.rows) {
      if (!query.fits(row)) continue;
      const last = rows.at(-1);
      if (rows.length === query.pageSize || bytes > answerBytes) {
        return { rows, nextPageToken: last === undefined ? undefined : query.tokenOf(last) };
      }
      rows.push(row);
      bytes += query.bytesOf?.(row) ?? 0;
    }
    if (found.next === undefined) return { rows, nextPageToken: undefined };
    looked += Math.max(1, found.rows.length);
    from = found.next;
  }
  return { rows, nextPageToken: from };
}

export function badToken(): HodeiError {
  return new HodeiError("invalid_argument", "page_token: it was not made by this store");
}
