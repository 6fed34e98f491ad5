import { and, asc, eq, gt, inArray, lt, lte, type SQL, sql } from "drizzle-orm";
import { integer, pgTable, text, uuid } from "drizzle-orm/pg-core";
import { z } from "zod";
import { firstIdAt, idTime } from "../events/ids.ts";
import type { LogFilter } from "../events/log-filter.ts";
import { asExporter, type Database, DatabaseUnavailable } from "./client.ts";
import { rowLine, type RowForm, rowText } from "./export-row-text.ts";
import { logConditions } from "./log-conditions.ts";
import { auditLogs, pendingIndex } from "./schema.ts";

/** What an export covers: a tenant's logs between two ids, both exclusive, that the filter selects; and in what form. */
export type ExportRange = RowForm & {
  tenantId: string;
  filter: LogFilter;
  after: string;
  upper: string;
};

/** A log in an export: its line with the end of it. */
export type ExportLine = { id: string; line: string };

/** Logs in id order, the id to go on after, and whether there is nothing behind it. */
export type ExportPage = { rows: ExportLine[]; after: string; isLast: boolean };

/** What a range has of logs, or the first of them where they are too many for a page: then it is cut. */
export type RangeRows = { rows: ExportLine[]; bytes: number; isCut: boolean };

/** A page has at most as many rows, and about as many bytes: four of them are in memory at once. */
export const maxPageRows = 10_000;
export const maxPageBytes = 1024 * 1024;
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

/** What a page's query makes. Columns, because drizzle decodes those of expressions several times slower. */
const sized = pgTable("sized", {
  id: uuid("id").notNull(),
  text: text("text").notNull(),
  size: integer("size").notNull(),
  /** Of this row and those before it. */
  bytes: integer("bytes").notNull(),
});

/** The rows that a condition selects, in id order, as many as fit a page. */
function sizedRows(db: Database, form: RowForm, condition: SQL | undefined) {
  // Named as the table whose columns then stand for its own.
  const page = db.$with("sized", {}).as(sql`
    select id, text, octet_length(text) as size,
      sum(octet_length(text)) over (order by id rows unbounded preceding) as bytes
    from (
      select id, ${rowText(form)} as text from audit_logs
      where ${condition} order by id limit ${maxPageRows}
    ) as selected`);
  return db
    .with(page)
    .select({ id: sized.id, text: sized.text, bytes: sized.bytes })
    .from(sized)
    .where(sql`${sized.bytes} - ${sized.size} < ${maxPageBytes}`)
    .orderBy(asc(sized.id));
}

function linesOf(form: RowForm, rows: readonly { id: string; text: string }[]): ExportLine[] {
  return rows.map((row) => ({ id: row.id, line: rowLine(form, row.text) }));
}

/** The rows of a range that end at `to`, inclusive, as many as fit a page. */
export async function readRange(db: Database, range: ExportRange, to: string): Promise<RangeRows> {
  const [rows] = await asExporter(db, range.tenantId, [
    sizedRows(db, range, and(within(range), lte(auditLogs.id, to), selected(range))),
  ]);
  const last = rows.at(-1);
  const isFull = rows.length === maxPageRows || (last !== undefined && last.bytes >= maxPageBytes);
  return {
    rows: linesOf(range, rows),
    bytes: last?.bytes ?? 0,
    isCut: isFull && last?.id !== to,
  };
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

/** The logs of these ids in their order: as many as fit a page, at least one. Ask again for the rest. */
export async function readLinesById(
  db: Database,
  tenantId: string,
  form: RowForm,
  ids: readonly string[],
): Promise<ExportLine[]> {
  const [rows] = await asExporter(db, tenantId, [
    sizedRows(db, form, and(eq(auditLogs.tenant_id, tenantId), inArray(auditLogs.id, [...ids]))),
  ]);
  return linesOf(form, rows);
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
