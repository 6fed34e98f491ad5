import type { Client } from "@opensearch-project/opensearch";
import type { Database } from "../../db/client.ts";
import {
  countRange,
  type ExportPage,
  type ExportRange,
  readLinesById,
} from "../../db/export-pages.ts";
import { countFound, findIds, type SearchRange } from "../../search/export-ids.ts";
import { ReadAhead } from "./read-ahead.ts";

/** Ids of a page that OpenSearch is asked for. */
const foundAtOnce = 2_000;

/** Where the rows of an export come from. */
export type RowSource = {
  /** The page after an id, which is that of the page before. */
  page(after: string): Promise<ExportPage>;
  /** About how many rows there are. */
  count(): Promise<number>;
};

/**
 * Postgres selects the rows itself; with words to search for, OpenSearch says which, where there is one,
 * and Postgres has them.
 */
export function rowSource(db: Database, search: Client | undefined, range: ExportRange): RowSource {
  if (range.filter.search.length === 0 || !search) {
    const pages = new ReadAhead(db, range);
    return {
      page: (after) => pages.page(after),
      count: () => countRange(db, range),
    };
  }
  const found: SearchRange = { ...range, scope: { tenantId: range.tenantId, userId: null } };
  return {
    page: (after) => searchedPage(db, search, range, { ...found, after }),
    count: () => countFound(search, found),
  };
}

async function searchedPage(
  db: Database,
  search: Client,
  { tenantId, ...form }: ExportRange,
  range: SearchRange,
): Promise<ExportPage> {
  const ids = await findIds(search, range, foundAtOnce);
  if (ids.length === 0) return { rows: [], after: range.upper, isLast: true };
  const rows = await readLinesById(db, tenantId, form, ids);
  // Large rows: the page is cut, and the ids behind it are found again.
  const readTo = rows.length < ids.length ? rows.at(-1)?.id : undefined;
  const after = readTo ?? ids.at(-1) ?? range.upper;
  return { rows, after, isLast: after === ids.at(-1) && ids.length < foundAtOnce };
}
