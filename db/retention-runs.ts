import { sql } from "drizzle-orm";
import { z } from "zod";
import { firstIdAt } from "../events/ids.ts";
import { asRetention, asRole, type Database, inTenant } from "./client.ts";
import { ownIdOf } from "./own-logs.ts";
import { recordRemoved } from "./removal-log.ts";
import type { RetentionRun, RunState } from "./retention.ts";
import { timeMs } from "./time-text.ts";
import { lockWrite, withMonth } from "./write-logs.ts";

const ms = z.coerce.number();

const dueRow = z.object({
  tenant_id: z.string(),
  cutoff_ms: ms,
  fallback_days: ms.nullable(),
  position: z.string(),
});

/** The run that has waited longest of those that are due: what an admin asked for, or the daily one. */
export async function nextRun(db: Database): Promise<RetentionRun | undefined> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select tenant_id, fallback_days, position, ${timeMs(sql`coalesce(cutoff, cutoff_of(kept_days(
        retention_days, retention_days_before, retention_takes_effect_at, null
      )))`)} as cutoff_ms
      from retention_runs join tenants on tenants.id = tenant_id
      where due_at <= clock_timestamp() order by due_at limit 1`),
  ]);
  const row = z.array(dueRow).parse(result.rows)[0];
  return (
    row && {
      tenantId: row.tenant_id,
      cutoff: row.cutoff_ms,
      defaultDays: row.fallback_days,
      position: row.position,
    }
  );
}

const over = sql`cutoff = null, fallback_days = null, asked_log = null, position = ${firstIdAt(0)}`;

/** When a run goes on that is not over. A daily one that is begins again a day later. */
const dueAgain = {
  more: sql`clock_timestamp()`,
  waiting: sql`clock_timestamp() + interval '5 minutes'`,
  failed: sql`clock_timestamp() + interval '5 minutes'`,
};

/**
 * Ends a run, or says when it goes on. One that was asked for meanwhile stays as it is. Where it ends or waits,
 * what it has removed is recorded in the same transaction.
 *
 * @returns the id of that log
 */
export async function settleRun(
  db: Database,
  { tenantId, cutoff: until, defaultDays }: RetentionRun,
  state: RunState | "failed",
): Promise<string | undefined> {
  const asked = defaultDays === null ? null : until;
  const isIt = sql`tenant_id = ${tenantId}
    and ${timeMs(sql`cutoff`)} is not distinct from ${asked}::numeric`;
  if (state === "more" || state === "failed") {
    await asRetention(db, { tenantId, defaultDays }, [
      db.execute(sql`update retention_runs set due_at = ${dueAgain[state]} where ${isIt}`),
    ]);
    return undefined;
  }
  const change =
    state === "waiting"
      ? sql`due_at = ${dueAgain.waiting}`
      : sql`${over}, due_at = coalesce((
          select clock_timestamp() + interval '1 day' from tenants
          where id = ${tenantId} and retention_days is not null
        ), 'infinity')`;
  // Not by the role that removes logs: that one writes none.
  const scope = { tenantId, userId: null };
  const [, own] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      lockWrite(db),
      recordRemoved(db, scope, { isIt, change, isComplete: state === "done" }),
    ]),
  );
  return ownIdOf(own);
}
