import { and, asc, eq, inArray, sql } from "drizzle-orm";
import { z } from "zod";
import type { AuditLog } from "../events/audit-log.ts";
import { asRole, type Database } from "./client.ts";
import { countOutboxRows } from "./counters.ts";
import { logColumns, logOfRow } from "./read-logs.ts";
import { auditLogs, indexFailures, pendingIndex } from "./schema.ts";

/** A row of the outbox: a log that is not searchable yet, in the revision that it has to have. */
export type OutboxKey = { tenantId: string; logId: string };
export type OutboxRow = OutboxKey & { rev: number };
/** `reindexed`: its month is being written into a new index, so that the log goes into both. */
export type PendingLog = AuditLog & { email_hash: string | null; rev: number; reindexed: boolean };

/** More JSON than this is not read at once: an isolate has 128 MB, and what was broken off is done again. */
const maxBatchBytes = 2 * 1024 * 1024;

const keysAsRows = (keys: readonly OutboxKey[]) => sql`
  unnest(
    ${sql.param(keys.map((key) => key.tenantId))}::text[],
    ${sql.param(keys.map((key) => key.logId))}::uuid[]
  ) as wanted (tenant_id, log_id)`;

const isReindexed = sql<boolean>`exists (
  select from reindexes
  where state in ('COPYING', 'VERIFYING', 'SWAPPING', 'SWAPPED') and audit_logs.id >= from_id and audit_logs.id < to_id
)`;

/**
 * The logs that still wait, of those that are asked for, in id order: as many as fit a batch, and at
 * least one. Ask again for the rest. Rows whose log is gone, by retention, leave the outbox: nobody could ever
 * index them, and the tenant's mark would wait for them for ever.
 */
export async function readPendingLogs(
  db: Database,
  keys: readonly OutboxKey[],
): Promise<PendingLog[]> {
  const size = sql<number>`sum(
    octet_length(${auditLogs.metadata}::text) + octet_length(${auditLogs.before_state}::text)
    + octet_length(${auditLogs.after_state}::text) + octet_length(${auditLogs.targets}::text)
  ) over (order by ${auditLogs.id} rows between unbounded preceding and 1 preceding)`;
  const sized = db.$with("sized").as(
    db
      .select({
        tenantId: pendingIndex.tenantId,
        logId: pendingIndex.logId,
        rev: pendingIndex.rev,
        before: size.as("before"),
      })
      .from(keysAsRows(keys))
      .innerJoin(
        pendingIndex,
        sql`(pending_index.tenant_id, pending_index.log_id) = (wanted.tenant_id, wanted.log_id)`,
      )
      .innerJoin(
        auditLogs,
        and(eq(auditLogs.tenant_id, pendingIndex.tenantId), eq(auditLogs.id, pendingIndex.logId)),
      ),
  );
  const query = db
    .with(sized)
    .select({
      ...logColumns,
      email_hash: auditLogs.email_hash,
      rev: sized.rev,
      // In the statement that reads the log: one snapshot of both is what makes a reindex lose nothing.
      reindexed: isReindexed,
    })
    .from(sized)
    .innerJoin(
      auditLogs,
      and(eq(auditLogs.tenant_id, sized.tenantId), eq(auditLogs.id, sized.logId)),
    )
    .where(sql`coalesce(${sized.before}, 0) < ${maxBatchBytes}`)
    .orderBy(asc(auditLogs.id));
  const [rows] = await asRole(db, "audit_indexer", [
    query,
    db.execute(sql`
      delete from pending_index using ${keysAsRows(keys)}
      where (pending_index.tenant_id, pending_index.log_id) = (wanted.tenant_id, wanted.log_id)
        and (
          -- LIMIT keeps it a look-up by key.
          select audit_logs.id from audit_logs
          where (audit_logs.tenant_id, audit_logs.id) = (pending_index.tenant_id, pending_index.log_id)
          limit 1
        ) is null`),
  ]);
  return rows.map(logOfRow);
}

/** Takes rows out of the outbox: their logs are searchable. A row that has a newer revision stays. */
export async function deleteOutboxRows(db: Database, rows: readonly OutboxRow[]): Promise<void> {
  await asRole(db, "audit_indexer", [
    db.execute(sql`
      with gone as (
        delete from pending_index using unnest(
          ${sql.param(rows.map((row) => row.tenantId))}::text[],
          ${sql.param(rows.map((row) => row.logId))}::uuid[],
          ${sql.param(rows.map((row) => row.rev))}::int[]
        ) as done (tenant_id, log_id, rev)
        where (pending_index.tenant_id, pending_index.log_id, pending_index.rev) = (done.tenant_id, done.log_id, done.rev)
        returning is_first
      )
      ${countOutboxRows(true)}`),
  ]);
}

/** Moves a log that the index can never take out of the outbox, and keeps the reason. */
export async function recordIndexFailure(
  db: Database,
  row: OutboxRow,
  reason: string,
): Promise<void> {
  await asRole(db, "audit_indexer", [
    db.execute(sql`
      with gone as (
        delete from pending_index
        where tenant_id = ${row.tenantId} and log_id = ${row.logId} and rev = ${row.rev}
        returning tenant_id, log_id, is_first
      ), failed as (
        insert into index_failures (tenant_id, log_id, reason)
        select tenant_id, log_id, ${reason} from gone
        on conflict (tenant_id, log_id) do update set reason = excluded.reason, failed_at = clock_timestamp()
      )
      ${countOutboxRows(false)}`),
  ]);
}

/** Which of these logs the index can never take, and why. */
export async function readIndexFailures(
  db: Database,
  tenantId: string,
  logIds: readonly string[],
): Promise<{ logId: string; reason: string }[]> {
  const [rows] = await asRole(db, "audit_indexer", [
    db
      .select({ logId: indexFailures.logId, reason: indexFailures.reason })
      .from(indexFailures)
      .where(and(eq(indexFailures.tenantId, tenantId), inArray(indexFailures.logId, [...logIds]))),
  ]);
  return rows;
}

const leased = z.array(z.object({ tenant_id: z.string(), log_id: z.string() }));

/**
 * Leases rows that waited too long, the oldest first. A row's next turn is 30 s later, then 60 s, up to
 * an hour: two sweeps do not send one row twice, and a row that fails does not crowd out the others.
 *
 * @param limit rows at most
 * @param graceSeconds how much longer than that a row must have waited
 */
export async function leaseOverdue(
  db: Database,
  limit: number,
  graceSeconds = 0,
): Promise<OutboxKey[]> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      with overdue as (
        select tenant_id, log_id from pending_index
        where due_at < clock_timestamp() - make_interval(secs => ${graceSeconds})
        order by due_at limit ${limit}
        for update skip locked
      )
      update pending_index
      set attempts = attempts + 1,
          due_at = clock_timestamp() + least(interval '30 seconds' * 2 ^ least(attempts, 7), interval '1 hour')
      from overdue
      where (pending_index.tenant_id, pending_index.log_id) = (overdue.tenant_id, overdue.log_id)
      returning pending_index.tenant_id, pending_index.log_id`),
  ]);
  return leased.parse(result.rows).map((row) => ({ tenantId: row.tenant_id, logId: row.log_id }));
}
