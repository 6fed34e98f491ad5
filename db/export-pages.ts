import { and, asc, eq, gt, inArray, lt, lte, type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import type { AuditLog } from "../events/audit-log.ts";
import { firstIdAt, idTime } from "../events/ids.ts";
import type { LogFilter } from "../events/log-filter.ts";
import { asExporter, type Database, DatabaseUnavailable } from "./client.ts";
import { logConditions } from "./log-conditions.ts";
import { logColumns, logOfRow } from "./read-logs.ts";
import { auditLogs, pendingIndex } from "./schema.ts";

/** What an export covers: a tenant's logs between two ids, both exclusive, that the filter selects. */
export type ExportRange = { tenantId: string; filter: LogFilter; after: string; upper: string };

/** Logs in id order, the id to go on after, and whether there is nothing behind it. */
export type ExportPage = { logs: AuditLog[]; after: string; isLast: boolean };

/** A page has at most as many rows, and about as much JSON: two of them are in memory at once. */
export const maxPageRows = 2_000;
const maxPageBytes = 2 * 1024 * 1024;
/** A page looks at no more logs than this, however few the filter selects: it must end within its timeout. */
const maxScannedRows = 20_000;
const countTimeoutMs = 4_000;

/** An export from its filter's `from`, or after the last id that it has, to its bound or its filter's `to`. */
export function exportRange(
  row: { tenantId: string; filters: LogFilter; lastId: string | null; upperId: string },
  lastId = row.lastId,
): ExportRange {
  const { filters: filter, tenantId, upperId } = row;
  const to = firstIdAt(filter.to ?? Number.MAX_SAFE_INTEGER);
  return {
    tenantId,
    filter,
    after: lastId ?? firstIdAt(filter.from ?? 0),
    upper: upperId < to ? upperId : to,
  };
}

const within = ({ tenantId, after, upper }: ExportRange): SQL | undefined =>
  and(eq(auditLogs.tenant_id, tenantId), gt(auditLogs.id, after), lt(auditLogs.id, upper));

const selected = ({ tenantId, filter }: ExportRange) =>
  logConditions({ tenantId, userId: null }, filter);

/** The rows that a condition selects, in id order, as many as fit a page; `matched` counts them all. */
function sizedPage(db: Database, condition: SQL | undefined) {
  const size = sql.join(
    ["metadata", "before_state", "after_state", "targets"].map(
      (column) => sql`octet_length(coalesce(audit_logs.${sql.identifier(column)}::text, ''))`,
    ),
    sql` + `,
  );
  // Named as the table that it is made of, whose columns then stand for its own.
  const sized = db.$with("audit_logs", {}).as(sql`
    select audit_logs.*, count(*) over () as matched,
      sum(${size}) over (order by id rows between unbounded preceding and 1 preceding) as bytes_before
    from (
      select * from audit_logs where ${condition} order by id limit ${maxPageRows}
    ) as audit_logs`);
  return db
    .with(sized)
    .select({ ...logColumns, matched: sql<number>`audit_logs.matched`.mapWith(Number) })
    .from(auditLogs)
    .where(sql`coalesce(bytes_before, 0) < ${maxPageBytes}`)
    .orderBy(asc(auditLogs.id));
}

/** The next page of an export from Postgres. Never by OFFSET over what was read: its cost does not grow. */
export async function readExportPage(db: Database, range: ExportRange): Promise<ExportPage> {
  // The one OFFSET is a look ahead of fixed length, within the primary key.
  const ahead = db
    .select({ id: auditLogs.id })
    .from(auditLogs)
    .where(within(range))
    .orderBy(asc(auditLogs.id))
    .offset(maxScannedRows - 1)
    .limit(1);
  const [bounds, rows] = await asExporter(db, range.tenantId, [
    ahead,
    sizedPage(
      db,
      and(
        within(range),
        lte(auditLogs.id, sql`coalesce((${ahead}), ${range.upper}::uuid)`),
        selected(range),
      ),
    ),
  ]);
  const logs = rows.map(logOfRow);
  const last = rows.at(-1);
  const isCut = rows.length === maxPageRows || (last !== undefined && last.matched > rows.length);
  const scannedTo = bounds[0]?.id;
  return {
    logs,
    after: (isCut ? last?.id : scannedTo) ?? range.upper,
    isLast: !isCut && scannedTo === undefined,
  };
}

/** The logs of these ids in their order: as many as fit a page, at least one. Ask again for the rest. */
export async function readLogsById(
  db: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<AuditLog[]> {
  const [rows] = await asExporter(db, tenantId, [
    sizedPage(db, and(eq(auditLogs.tenant_id, tenantId), inArray(auditLogs.id, [...ids]))),
  ]);
  return rows.map(logOfRow);
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
