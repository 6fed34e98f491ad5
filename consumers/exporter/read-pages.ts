import type { Client } from "@opensearch-project/opensearch";
import type { Database } from "../../db/client.ts";
import {
  countRange,
  type ExportPage,
  type ExportRange,
  maxPageRows,
  readExportPage,
  readLogsById,
} from "../../db/export-pages.ts";
import { countFound, findIds, type SearchRange } from "../../search/export-ids.ts";

/** Where the rows of an export come from. */
export type RowSource = {
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
    return {
      page: (after) => readExportPage(db, { ...range, after }),
      count: () => countRange(db, range),
    };
  }
  const found: SearchRange = { ...range, scope: { tenantId: range.tenantId, userId: null } };
  return {
    page: (after) => searchedPage(db, search, { ...found, after }),
    count: () => countFound(search, found),
  };
}

async function searchedPage(db: Database, search: Client, range: SearchRange): Promise<ExportPage> {
  const ids = await findIds(search, range, maxPageRows);
  if (ids.length === 0) return { logs: [], after: range.upper, isLast: true };
  const logs = await readLogsById(db, range.scope.tenantId, ids);
  // Large rows: the page is cut, and the ids behind it are found again.
  const readTo = logs.length < ids.length ? logs.at(-1)?.id : undefined;
  const after = readTo ?? ids.at(-1) ?? range.upper;
  return { logs, after, isLast: after === ids.at(-1) && ids.length < maxPageRows };
}
