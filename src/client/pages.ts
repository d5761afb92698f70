/** Part of a request for a page. */
export interface PageRequest {
  readonly pageSize: number;
  readonly pageToken: string;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  /** Empty: there is no next one. */
  readonly next: string;
}

const pageSize = 100;

/** Every item of every page; a page is asked for once the one before it is used up. */
export async function* allPages<Item>(
  getPage: (request: PageRequest) => Promise<Page<Item>>,
): AsyncGenerator<Item, void, undefined> {
  let pageToken = "";
  do {
    const { items, next } = await getPage({ pageSize, pageToken });
    yield* items;
    pageToken = next;
  } while (pageToken !== "");
}
