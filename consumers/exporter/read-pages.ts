import type { Client } from "@opensearch-project/opensearch";
import type { Database } from "../../db/client.ts";
import {
  countRange,
  type ExportPage,
  type ExportRange,
  maxPieces,
  readLinesById,
} from "../../db/export-pages.ts";
import { firstIdAt, idTime } from "../../events/ids.ts";
import { countFound, findIds, type SearchRange } from "../../search/export-ids.ts";
import { ReadAhead } from "./read-ahead.ts";

/** Ids of a page that OpenSearch is asked for, and of one text of it. */
const foundAtOnce = 1_000;
const pieceRows = 50;

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
  // It is asked by milliseconds.
  const upper = firstIdAt(
    idTime(range.upper) + (range.upper === firstIdAt(idTime(range.upper)) ? 0 : 1),
  );
  const found = await findIds(search, { ...range, upper }, foundAtOnce);
  const ids = found.filter((id) => id < range.upper);
  const isLast = found.length < foundAtOnce || ids.length < found.length;
  const [first] = ids;
  const last = ids.at(-1);
  if (first === undefined || last === undefined)
    return { chunks: [], after: range.upper, isLast: true };
  const { chunks, cut, ends } = await readLinesById(db, tenantId, form, ids, pieceRows);
  if (cut === undefined) return { chunks, after: last, isLast };
  // Large rows: the ids behind them are found again.
  const readTo = ends[cut - 1];
  if (readTo !== undefined) return { chunks, after: readTo, isLast: false };
  const few = ids.slice(0, maxPieces);
  const alone = await readLinesById(db, tenantId, form, few, 1);
  const end = few.at(-1) ?? first;
  const given = alone.cut === undefined ? end : (few[alone.cut - 1] ?? first);
  return { chunks: alone.chunks, after: given, isLast: isLast && given === last };
}
