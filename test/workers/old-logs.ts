import { sql } from "drizzle-orm";
import { makeMonth, rowsOf } from "./database.ts";

export const dayMs = 24 * 60 * 60 * 1000;

/** Logs as they were stored so many days ago, one each minute; waiting in the outbox where that is said. */
export async function storeOld(
  tenant: string,
  daysAgo: number,
  count: number,
  waiting = false,
): Promise<string[]> {
  const first = new Date(Date.now() - daysAgo * dayMs);
  await makeMonth(first);
  await makeMonth(new Date(first.getTime() + count * 60_000));
  const rows = await rowsOf(sql`
    with known as (insert into tenants (id) values (${tenant}) on conflict do nothing),
    times as (
      select date_trunc('milliseconds', ${first.toISOString()}::timestamptz + make_interval(mins => n)) as at
      from generate_series(0, ${count - 1}) as n
    ), stored as (
      insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, metadata, before_state, after_state, targets)
      select audit_log_id(at, 0), ${tenant}, at, at, 'test', 'a', 'INFO', 'user', 'r', '1', '{}', '{}', '{}', '[]' from times
      returning id
    ), outbox as (
      insert into pending_index (tenant_id, log_id, due_at) select ${tenant}, id, now() + interval '1 day' from stored where ${waiting}
    )
    select id from stored order by id`);
  return rows.map((row) => String(row["id"]));
}

/** The tenant's removal of old logs goes on, or begins again, before that of any other tenant. */
export async function makeDue(tenant: string): Promise<void> {
  await rowsOf(sql`
    update retention_runs set due_at = now() - interval '1 hour' where tenant_id = ${tenant}`);
}

/** As if a week had passed, and no run had come meanwhile. */
export async function passWeek(tenant: string): Promise<void> {
  await rowsOf(sql`
    update tenants set retention_takes_effect_at = now() - interval '1 second' where id = ${tenant}`);
  await makeDue(tenant);
}
