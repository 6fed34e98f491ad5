import { and, asc, count, desc, gt, isNotNull, lt, type SQL, sql } from "drizzle-orm";
import type { AuditLog } from "../events/audit-log.ts";
import { firstIdAt } from "../events/ids.ts";
import {
  maxCountedTotal,
  maxPageBytes,
  type LogFilter,
  type PageRequest,
  type Total,
} from "../events/log-filter.ts";
import { type LogStats, statsSize, timelineUnit } from "../events/log-stats.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { logConditions } from "./log-conditions.ts";
import { logColumns, logOfRow } from "./read-logs.ts";
import { auditLogs } from "./schema.ts";

/** A filter that no index helps can read a whole tenant: this bounds it. */
const listTimeoutMs = 4_000;

/**
 * One page from Postgres, for when OpenSearch does not answer: the same filters and the same order.
 *
 * @returns as searchLogs: at most `page.size` logs; the total is null on pages that follow a cursor
 * @throws DatabaseUnavailable also where the filter takes too long without the index
 */
export async function listLogs(
  db: Database,
  scope: TenantScope,
  filter: LogFilter,
  page: PageRequest,
): Promise<ListedPage & { total: Total | null }> {
  const where = logConditions(scope, filter);
  const { after, before, size } = page;
  const rows = selectPage(db, where, page);
  if (after !== null) {
    const [found] = await inTenant(db, scope, [rows], listTimeoutMs);
    return { ...pageOf(found, size), total: null };
  }
  const counted = db
    .select({ id: auditLogs.id })
    .from(auditLogs)
    .where(and(where, before === null ? undefined : lt(auditLogs.id, firstIdAt(before))))
    .limit(maxCountedTotal + 1)
    .as("counted");
  const [found, counts] = await inTenant(
    db,
    scope,
    [rows, db.select({ n: count() }).from(counted)],
    listTimeoutMs,
  );
  const n = counts[0]?.n ?? 0;
  return {
    ...pageOf(found, size),
    total: { count: Math.min(n, maxCountedTotal), isLowerBound: n > maxCountedTotal },
  };
}

type ListedPage = {
  logs: AuditLog[];
  hasMore: boolean;
  /** The page has fewer logs than were asked for, because more would be too large; at least one. */
  isCut: boolean;
};

/**
 * The logs of a page and the one behind it, as far as they fit: what is too large does not leave the database.
 * A row's text with its quotes is about what its JSON is.
 */
function selectPage(
  db: Database,
  where: SQL | undefined,
  { after, before, order, size, skip }: PageRequest,
) {
  const isDescending = order === "desc";
  const within = and(
    where,
    after === null ? undefined : (isDescending ? lt : gt)(auditLogs.id, after),
    before === null ? undefined : lt(auditLogs.id, firstIdAt(before)),
  );
  const byId = (isDescending ? desc : asc)(sql`id`);
  // Named as the table that it is made of, whose columns then stand for its own.
  const sized = db.$with("audit_logs", {}).as(sql`
    select audit_logs.*, count(*) over () as matched,
      sum(octet_length(audit_logs::text)) over (
        order by ${byId} rows between unbounded preceding and 1 preceding
      ) as bytes_before
    from (
      select * from audit_logs where ${within} order by ${byId} limit ${size + 1} offset ${skip}
    ) as audit_logs`);
  return db
    .with(sized)
    .select({ ...logColumns, matched: sql<number>`audit_logs.matched`.mapWith(Number) })
    .from(auditLogs)
    .where(sql`coalesce(bytes_before, 0) < ${maxPageBytes}`)
    .orderBy(byId);
}

type ListedRow = Awaited<ReturnType<typeof selectPage>>[number];

function pageOf(rows: readonly ListedRow[], size: number): ListedPage {
  const matched = rows[0]?.matched ?? 0;
  const logs = rows.slice(0, size).map((row) => {
    const { matched: _, ...log } = row;
    return logOfRow(log);
  });
  return { logs, hasMore: matched > logs.length, isCut: logs.length < Math.min(matched, size) };
}

/** The counts of stats from Postgres, for when OpenSearch does not answer. Throws as listLogs does. */
export async function countLogsInPostgres(
  db: Database,
  scope: TenantScope,
  filter: LogFilter,
): Promise<LogStats> {
  const where = logConditions(scope, filter);
  const by = (key: SQL<string>, order: SQL, limit?: number) => {
    const grouped = db
      .select({ key, doc_count: count() })
      .from(auditLogs)
      .where(and(where, isNotNull(key)))
      .groupBy(key)
      .orderBy(order, asc(key));
    return limit === undefined ? grouped : grouped.limit(limit);
  };
  const mostFirst = sql`count(*) desc`;
  const unit = sql.raw(`'${timelineUnit(filter)}'`);
  const beginning = sql<string>`to_char(date_trunc(${unit}, ${auditLogs.created_at}, 'UTC') at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
  const [total, actions, severities, types, users, timeline] = await inTenant(
    db,
    scope,
    [
      db.select({ n: count() }).from(auditLogs).where(where),
      by(sql<string>`${auditLogs.action}`, mostFirst, statsSize),
      by(sql<string>`${auditLogs.severity}`, mostFirst, statsSize),
      by(sql<string>`${auditLogs.resource_type}`, mostFirst, statsSize),
      by(sql<string>`${auditLogs.user_id}`, mostFirst, statsSize),
      by(beginning, sql`1`),
    ],
    listTimeoutMs,
  );
  return {
    total: total[0]?.n ?? 0,
    action_counts: actions,
    severity_counts: severities,
    resource_type_counts: types,
    user_counts: users,
    timeline,
  };
}
