import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant, sqlState } from "./client.ts";

export type StoredLog = { id: string; createdAt: string };

const stored = z.array(z.object({ id: z.string(), ms: z.coerce.number() }));

const noPartition = "23514";

/**
 * Stores logs and their outbox rows in one transaction and one round trip. Ids and times are made by the
 * database inside the INSERT, after the write lock that safe_time() reads: see ADR 1.
 *
 * @returns the logs' ids and times, in their order
 */
export async function writeLogs(
  db: Database,
  scope: TenantScope,
  logs: readonly NewAuditLog[],
): Promise<StoredLog[]> {
  const results = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      ...beginWrite(db, scope),
      db.execute(sql`
        with stamp as materialized (
          select date_trunc('milliseconds', clock_timestamp()) as at
        ), ${insertLogs(scope, sql`audit_log_id(stamp.at, n)`, sql`stamp.at`, sql`${sentRows(logs)}, stamp`)}
        select id, extract(epoch from created_at) * 1000 as ms from stored order by id`),
    ]),
  );
  return stored
    .parse(results[2].rows)
    .map(({ id, ms }) => ({ id, createdAt: new Date(ms).toISOString() }));
}

/** Writes once more where the month has no partition yet, after making it: nothing was stored then. */
export async function withMonth<T>(
  db: Database,
  scope: TenantScope,
  write: () => Promise<T>,
): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (sqlState(error) !== noPartition) throw error;
    await inTenant(db, scope, [db.execute(sql`select ensure_partition()`)]);
    return await write();
  }
}

/** What safe_time() reads: comes first in every batch that writes logs. */
export const lockWrite = (db: Database) => db.execute(sql`select lock_write()`);

/** Makes the tenant of a request, with the defaults, where it is not known yet: admit() has let it. */
export function makeOwnTenant(db: Database, { tenantId }: TenantScope) {
  return db.execute(sql`insert into tenants (id) values (${tenantId}) on conflict do nothing`);
}

/** The first statements of every batch that writes logs. */
export function beginWrite(db: Database, scope: TenantScope) {
  return [lockWrite(db), makeOwnTenant(db, scope)] as const;
}

/** The columns of a NewAuditLog, and its number. */
export const sentColumns = sql`
  n integer, action text, severity text, outcome text, actor_type text, actor_name text, user_id text,
  email text, email_hash text, session_id text, request_id text, ip_address text, user_agent text,
  resource_type text, resource_id text, resource_name text, description text, event_id text,
  recorded_by text, occurred_at timestamptz, metadata text, before_state text, after_state text,
  targets text, truncated_fields text, masked_fields text`;

/** Logs as rows `sent`, numbered by `n` from 0. */
export const sentRows = (logs: readonly NewAuditLog[]): SQL => sql`
  json_to_recordset(${JSON.stringify(logs.map((log, n) => ({ n, ...log })))}::json) as sent (${sentColumns})`;

/**
 * The statement that inserts logs.
 *
 * @param from has the columns of sentRows, under that name
 */
export const insertInto = ({ tenantId }: TenantScope, id: SQL, at: SQL, from: SQL): SQL => sql`
  insert into audit_logs (
    id, tenant_id, created_at, occurred_at, action, severity, outcome, actor_type, actor_name, user_id,
    email, email_hash, session_id, request_id, ip_address, user_agent, resource_type, resource_id,
    resource_name, description, event_id, recorded_by, metadata, before_state, after_state, targets,
    truncated_fields, masked_fields
  )
  select
    ${id}, ${tenantId}, ${at}, coalesce(occurred_at, ${at}), action,
    severity, outcome, actor_type, actor_name, user_id, email, email_hash, session_id, request_id,
    ip_address, user_agent, resource_type, resource_id, resource_name, description, sent.event_id, recorded_by,
    metadata::json, before_state::json, after_state::json, targets::json, truncated_fields::json,
    masked_fields::json
  from ${from}`;

/**
 * Parts of a `with`, `stored` and `outbox`: insert logs and their outbox rows.
 *
 * @param from has the columns of sentRows
 */
export const insertLogs = (scope: TenantScope, id: SQL, at: SQL, from: SQL): SQL => sql`
  stored as (
    ${insertInto(scope, id, at, from)}
    returning id, created_at
  ), outbox as (
    insert into pending_index (tenant_id, log_id, is_first) select ${scope.tenantId}, id, true from stored
  )`;
