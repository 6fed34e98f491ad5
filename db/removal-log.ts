import { type SQL, sql } from "drizzle-orm";
import { serviceLog } from "../events/service-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import type { Database } from "./client.ts";
import { storeOwnLog } from "./own-logs.ts";
import { timeText } from "./time-text.ts";

const removalLog = serviceLog("audit_log.logs_removed", "audit_log");

type Recorded = {
  /** The run, while it is this one. */
  isIt: SQL;
  /** What becomes of its row. */
  change: SQL;
  /** Whether none is left from before the cutoff. */
  isComplete: boolean;
};

/**
 * Changes a run's row and stores a log of what it has removed since the last one: nothing twice, and nothing of
 * nothing. Whoever asked for the run is who the log names.
 */
export function recordRemoved(
  db: Database,
  scope: TenantScope,
  { isIt, change, isComplete }: Recorded,
) {
  const fields = sql`coalesce(ended.asked_log::jsonb, '{}') || jsonb_build_object(
    'action', ${removalLog.action}::text,
    'metadata', jsonb_build_object(
      'removed', ended.removed,
      'cutoff', ${timeText(sql`ended.removed_before`)},
      'run', case when ended.cutoff is null then 'daily' else 'cleanup' end,
      'complete', ${isComplete}::boolean
    )::text
  )`;
  return db.execute(sql`
    with run as materialized (
      select cutoff, asked_log, removed, removed_before from retention_runs where ${isIt} for update
    ), changed as (
      update retention_runs set ${change}, removed = 0, removed_before = null
      from run where tenant_id = ${scope.tenantId}
    ), ended as (
      select * from run where removed > 0
    ), ${storeOwnLog(scope, removalLog, { from: sql`ended`, fields })}
    select id from own`);
}

/** Before another run takes the place of a tenant's, where it does: records what that has removed. */
export const recordReplaced = (db: Database, scope: TenantScope, isReplaced: SQL) =>
  recordRemoved(db, scope, {
    isIt: sql`tenant_id = ${scope.tenantId} and ${isReplaced}`,
    change: sql`asked_log = null`,
    isComplete: false,
  });
