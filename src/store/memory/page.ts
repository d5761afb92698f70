import { HodeiError } from "#error.ts";
import type { Page, PageQuery } from "#store/store.ts";

export interface Order<Row> {
  readonly isToken: (token: string) => boolean;
  /** Whether the row comes after the one that the token names. */
  readonly isAfter: (row: Row, token: string) => boolean;
  readonly tokenOf: (row: Row) => string;
}

/** One page of rows that are in order. */
export function cut<Row>(rows: readonly Row[], query: PageQuery, order: Order<Row>): Page<Row> {
  const token = query.pageToken;
  if (token !== undefined && !order.isToken(token)) {
    throw new HodeiError("invalid_argument", "page_token: it was not made by this store");
  }
  const rest = token === undefined ? rows : rows.filter((row) => order.isAfter(row, token));
  const page = rest.slice(0, query.pageSize);
  const last = page.at(-1);
  const isMore = rest.length > page.length && last !== undefined;
  return { rows: page, nextPageToken: isMore ? order.tokenOf(last) : undefined };
}
