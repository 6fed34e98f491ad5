import { and, eq, gt, lt, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { firstIdAt, idTime } from "../events/ids.ts";
import type { LogFilter } from "../events/log-filter.ts";
import { asExporter, type Database, DatabaseUnavailable } from "./client.ts";
import { type ExportChunk, readPieces, type ReadPieces } from "./export-pieces.ts";
import type { RowForm } from "./export-row-text.ts";
import { logConditions } from "./log-conditions.ts";
import { auditLogs, pendingIndex } from "./schema.ts";

/** What an export covers: a tenant's logs between two ids, both exclusive, that the filter selects; and in what form. */
export type ExportRange = RowForm & {
  tenantId: string;
  filter: LogFilter;
  after: string;
  upper: string;
};

/** Logs in id order, the id to go on after, and whether there is nothing behind it. */
export type ExportPage = {
  chunks: ExportChunk[];
  after: string;
  isLast: boolean;
  /** To be called when the lines are not needed any more: a later page takes their place. */
  release: () => void;
};

const countTimeoutMs = 4_000;

/** An export from its filter's `from`, or after the last id that it has, to its bound or its filter's `to`. */
export function exportRange(
  row: RowForm & { tenantId: string; filters: LogFilter; lastId: string | null; upperId: string },
  lastId = row.lastId,
): ExportRange {
  const { filters: filter, tenantId, upperId, format, columns } = row;
  const to = firstIdAt(filter.to ?? Number.MAX_SAFE_INTEGER);
  return {
    tenantId,
    filter,
    format,
    columns,
    after: lastId ?? firstIdAt(filter.from ?? 0),
    upper: upperId < to ? upperId : to,
  };
}

const within = ({ tenantId, after, upper }: ExportRange): SQL | undefined =>
  and(eq(auditLogs.tenant_id, tenantId), gt(auditLogs.id, after), lt(auditLogs.id, upper));

const selected = ({ tenantId, filter }: ExportRange) =>
  logConditions({ tenantId, userId: null }, filter);

const idList = (ids: readonly string[]): SQL => sql`${`{${ids.join(",")}}`}::uuid[]`;

/**
 * The logs of those pieces of a range that end at `ends`, inclusive, the first of them at its beginning.
 *
 * @param limit how many logs of a piece are looked at
 */
export async function readRange(
  db: Database,
  range: ExportRange,
  ends: readonly string[],
  limit: number,
): Promise<ReadPieces> {
  const starts = [range.after, ...ends.slice(0, -1)];
  const from = sql`unnest(${idList(starts)}, ${idList(ends)}) with ordinality as piece(after, upto, n)`;
  const condition = and(
    sql`audit_logs.id > piece.after and audit_logs.id <= piece.upto`,
    // By what is known before it runs the planner chooses months and estimates rows.
    within(range),
    sql`audit_logs.id <= ${ends.at(-1)}::uuid`,
    selected(range),
  );
  return readPieces(db, range.tenantId, range, { from, condition, ends }, limit);
}

/**
 * Where a range can be cut into pieces of as many logs each, whatever the filter selects of them: the last id
 * of each piece, at most `count`. Read from the primary key alone; the rest of the range is shorter than a
 * piece where fewer come back.
 */
export async function readBounds(
  db: Database,
  range: ExportRange,
  logs: number,
  count: number,
): Promise<string[]> {
  const [rows] = await asExporter(db, range.tenantId, [
    db
      .select({ id: sql<string>`id` })
      .from(
        sql`(
          select id, row_number() over (order by id) as n from audit_logs
          where ${within(range)} order by id limit ${logs * count}
        ) as counted`,
      )
      .where(sql`n % ${logs} = 0`)
      .orderBy(sql`id`),
  ]);
  return rows.map((row) => row.id);
}

/** The logs of these ids, which are in order, in pieces of as many each. */
export async function readLinesById(
  db: Database,
  tenantId: string,
  form: RowForm,
  ids: readonly string[],
  pieceRows: number,
): Promise<ReadPieces & { ends: string[] }> {
  const lists: string[][] = [];
  for (let at = 0; at < ids.length; at += pieceRows) lists.push(ids.slice(at, at + pieceRows));
  const ends = lists.flatMap((list) => list.at(-1) ?? []);
  const texts = JSON.stringify(lists.map((list) => `{${list.join(",")}}`));
  const from = sql`json_array_elements_text(${texts}::json) with ordinality as piece(ids, n)`;
  const condition = and(
    eq(auditLogs.tenant_id, tenantId),
    sql`audit_logs.id = any (piece.ids::uuid[])`,
    sql`audit_logs.id between ${ids[0]}::uuid and ${ids.at(-1)}::uuid`,
  );
  const read = await readPieces(db, tenantId, form, { from, condition, ends }, pieceRows);
  return { ...read, ends };
}

const planned = z.tuple([z.object({ Plan: z.object({ "Plan Rows": z.number() }) })]);

/** How many logs a range has: counted, or where that takes too long, estimated by the planner. */
export async function countRange(db: Database, range: ExportRange): Promise<number> {
  const counting = sql`select count(*)::float8 as n from audit_logs where ${and(within(range), selected(range))}`;
  try {
    const [result] = await asExporter(db, range.tenantId, [db.execute(counting)], countTimeoutMs);
    return Number(result.rows[0]?.["n"]);
  } catch (error) {
    if (!(error instanceof DatabaseUnavailable)) throw error;
  }
  const selecting = sql`explain (format json) select 1 from audit_logs where ${and(within(range), selected(range))}`;
  const [result] = await asExporter(db, range.tenantId, [db.execute(selecting)]);
  const plan = result.rows[0]?.["QUERY PLAN"];
  return planned.parse(typeof plan === "string" ? JSON.parse(plan) : plan)[0].Plan["Plan Rows"];
}

const safeTimeRow = z.object({ ms: z.coerce.number() });

/**
 * Whether every log below a bound is there to read, and with `isSearch` searchable too: safe_time() first,
 * then the outbox, as the settled mark of lists.
 */
export async function isSettled(
  db: Database,
  tenantId: string,
  upperId: string,
  isSearch: boolean,
): Promise<boolean> {
  const [safe, gaps, pending] = await asExporter(db, tenantId, [
    db.execute(sql`select floor(extract(epoch from safe_time()) * 1000) as ms`),
    // The policy shows only what holds back this tenant's mark.
    db.execute(sql`select 1 from reconcile_progress where slice_from < ${idTime(upperId)} limit 1`),
    db
      .select({ id: pendingIndex.logId })
      .from(pendingIndex)
      .where(and(eq(pendingIndex.tenantId, tenantId), lt(pendingIndex.logId, upperId)))
      .limit(1),
  ]);
  const isSafe = safeTimeRow.parse(safe.rows[0]).ms >= idTime(upperId);
  return isSafe && !(isSearch && (pending.length > 0 || gaps.rows.length > 0));
}
