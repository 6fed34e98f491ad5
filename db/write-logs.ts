import { sql } from "drizzle-orm";
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
 * @param createTenant whether an unseen tenant is made; if not, nothing is stored for it
 * @returns the logs' ids and times, in their order; null when the tenant is not known
 */
export async function writeLogs(
  db: Database,
  scope: TenantScope,
  logs: readonly NewAuditLog[],
  createTenant: boolean,
): Promise<StoredLog[] | null> {
  try {
    return await insertLogs(db, scope, logs, createTenant);
  } catch (error) {
    if (sqlState(error) !== noPartition) throw error;
    // The month has no partition yet, so nothing was stored: make it, and try once more.
    await inTenant(db, scope, [db.execute(sql`select ensure_partition()`)]);
    return await insertLogs(db, scope, logs, createTenant);
  }
}

async function insertLogs(
  db: Database,
  scope: TenantScope,
  logs: readonly NewAuditLog[],
  createTenant: boolean,
): Promise<StoredLog[] | null> {
  const rows = JSON.stringify(logs.map((log, n) => ({ n, ...log })));
  const results = await inTenant(db, scope, [
    db.execute(sql`select lock_write()`),
    db.execute(
      createTenant
        ? sql`insert into tenants (id) values (${scope.tenantId}) on conflict do nothing`
        : sql`select 1`,
    ),
    db.execute(sql`
      with stamp as materialized (
        select date_trunc('milliseconds', clock_timestamp()) as at
      ), sent as (
        select * from json_to_recordset(${rows}::json) as sent (
          n integer, action text, severity text, outcome text, actor_type text, actor_name text, user_id text,
          email text, email_hash text, session_id text, request_id text, ip_address text, user_agent text,
          resource_type text, resource_id text, resource_name text, description text, event_id text,
          recorded_by text, occurred_at timestamptz, metadata text, before_state text, after_state text,
          targets text, truncated_fields text, masked_fields text
        )
        where exists (select from tenants where id = ${scope.tenantId})
      ), stored as (
        insert into audit_logs (
          id, tenant_id, created_at, occurred_at, action, severity, outcome, actor_type, actor_name, user_id,
          email, email_hash, session_id, request_id, ip_address, user_agent, resource_type, resource_id,
          resource_name, description, event_id, recorded_by, metadata, before_state, after_state, targets,
          truncated_fields, masked_fields
        )
        select
          audit_log_id(stamp.at, n), ${scope.tenantId}, stamp.at, coalesce(occurred_at, stamp.at), action,
          severity, outcome, actor_type, actor_name, user_id, email, email_hash, session_id, request_id,
          ip_address, user_agent, resource_type, resource_id, resource_name, description, event_id, recorded_by,
          metadata::json, before_state::json, after_state::json, targets::json, truncated_fields::json,
          masked_fields::json
        from sent, stamp
        returning id, created_at
      ), outbox as (
        insert into pending_index (tenant_id, log_id, is_first) select ${scope.tenantId}, id, true from stored
      )
      select id, extract(epoch from created_at) * 1000 as ms from stored order by id`),
  ]);
  const made = stored.parse(results[2].rows);
  if (made.length === 0) return null;
  return made.map(({ id, ms }) => ({ id, createdAt: new Date(ms).toISOString() }));
}
