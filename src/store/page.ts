export interface PageQuery {
  readonly pageSize: number;
  /** From the page before; undefined for the first. Error: `invalid_argument` when it was not made by this store. */
  readonly pageToken: string | undefined;
}

export interface Page<Row> {
  readonly rows: readonly Row[];
  /** Undefined on the last page. */
  readonly nextPageToken: string | undefined;
}
