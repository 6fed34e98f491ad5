import { asc, type SQL, sql } from "drizzle-orm";
import type { AuditLog } from "../events/audit-log.ts";
import { asRole, type Database } from "./client.ts";
import { logColumns, logOfRow } from "./read-logs.ts";
import { auditLogs } from "./schema.ts";

/** A log among those of all tenants. */
export type PagedLog = AuditLog & { email_hash: string | null };

/** The log to go on after; at first the tenant is empty and the id null. */
export type PagePosition = { tenant: string; lastId: string | null };

/** Logs in the order of tenants and ids, those of them that wait in the outbox, and whether there is nothing behind them. */
export type LogPage = { logs: PagedLog[]; waiting: Set<string>; isLast: boolean };

const maxPageBytes = 4 * 1024 * 1024;
const firstId = "00000000-0000-0000-0000-000000000000";

/**
 * The next logs of all tenants between two ids, the upper one exclusive, by the primary key: as many as fit
 * a page, at least one. Without those that the index can never take.
 *
 * @param ids of one month, so that one partition is read
 */
export async function readLogPage(
  db: Database,
  ids: { fromId: string; toId: string },
  after: PagePosition,
  limit: number,
): Promise<LogPage> {
  const size = sql.join(
    ["metadata", "before_state", "after_state", "targets"].map(
      (column) => sql`octet_length(coalesce(audit_logs.${sql.identifier(column)}::text, ''))`,
    ),
    sql` + `,
  );
  const within: SQL = sql`
    (tenant_id, id) > (${after.tenant}, ${after.lastId ?? firstId}::uuid)
    and id >= ${ids.fromId} and id < ${ids.toId}
    and not exists (
      select from index_failures as failed
      where failed.tenant_id = audit_logs.tenant_id and failed.log_id = audit_logs.id
    )`;
  // Named as the table that it is made of, whose columns then stand for its own.
  const sized = db.$with("audit_logs", {}).as(sql`
    select audit_logs.*, count(*) over () as matched,
      sum(${size}) over (order by tenant_id, id rows between unbounded preceding and 1 preceding) as bytes_before
    from (
      select * from audit_logs where ${within} order by tenant_id, id limit ${limit}
    ) as audit_logs`);
  const query = db
    .with(sized)
    .select({
      ...logColumns,
      email_hash: auditLogs.email_hash,
      matched: sql<number>`audit_logs.matched`.mapWith(Number),
      waits: sql<boolean>`exists (
        select from pending_index
        where pending_index.tenant_id = audit_logs.tenant_id and pending_index.log_id = audit_logs.id
      )`,
    })
    .from(auditLogs)
    .where(sql`coalesce(bytes_before, 0) < ${maxPageBytes}`)
    .orderBy(asc(auditLogs.tenant_id), asc(auditLogs.id));
  const [rows] = await asRole(db, "audit_maintenance", [query]);
  const matched = rows[0]?.matched ?? 0;
  const logs = rows.map((row) => {
    const { matched: _, waits: __, ...log } = row;
    return logOfRow(log);
  });
  return {
    logs,
    waiting: new Set(rows.filter((row) => row.waits).map((row) => row.id)),
    isLast: matched < limit && rows.length === matched,
  };
}
