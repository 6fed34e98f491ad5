import type { Client } from "@opensearch-project/opensearch";
import type { Database } from "../../db/client.ts";
import {
  countRange,
  type ExportPage,
  type ExportRange,
  readLinesById,
} from "../../db/export-pages.ts";
import { maxPieces } from "../../db/export-pieces.ts";
import { firstIdAt, idTime } from "../../events/ids.ts";
import { countFound, findIds, type SearchRange } from "../../search/export-ids.ts";
import { NotForIndex } from "../../search/not-for-index.ts";
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
 * Postgres selects the rows itself; with words to search for, OpenSearch says which, where there is one and it
 * can tell them all, and Postgres has them.
 */
export function rowSource(db: Database, search: Client | undefined, range: ExportRange): RowSource {
  const selected = selectedRows(db, range);
  if (range.filter.search.length === 0 || !search) return selected;
  const found = foundRows(db, search, range);
  let isForIndex = true;
  async function orSelected<T>(ask: (source: RowSource) => Promise<T>): Promise<T> {
    if (isForIndex) {
      try {
        return await ask(found);
      } catch (error) {
        if (!(error instanceof NotForIndex)) throw error;
        isForIndex = false;
      }
    }
    return await ask(selected);
  }
  return {
    page: (after) => orSelected((source) => source.page(after)),
    count: () => orSelected((source) => source.count()),
  };
}

function selectedRows(db: Database, range: ExportRange): RowSource {
  const pages = new ReadAhead(db, range);
  return {
    page: (after) => pages.page(after),
    count: () => countRange(db, range),
  };
}

function foundRows(db: Database, search: Client, range: ExportRange): RowSource {
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
    return { chunks: [], after: range.upper, isLast: true, release() {} };
  const { chunks, cut, ends, release } = await readLinesById(db, tenantId, form, ids, pieceRows);
  if (cut === undefined) return { chunks, after: last, isLast, release };
  // Large rows: the ids behind them are found again.
  const readTo = ends[cut - 1];
  if (readTo !== undefined) return { chunks, after: readTo, isLast: false, release };
  release();
  const few = ids.slice(0, maxPieces);
  const single = await readLinesById(db, tenantId, form, few, 1);
  const end = single.cut === undefined ? few.at(-1) : few[single.cut - 1];
  const after = end ?? first;
  return { ...single, after, isLast: isLast && after === last };
}
