import { sql } from "drizzle-orm";
import { z } from "zod";
import { idBounds, type LogSlice } from "../events/log-slice.ts";
import { asRole, type Database } from "./client.ts";

/** What is wrong with a document: it is not there, it is not as the log is, or there is no such log. */
export type RepairKind = "missing" | "extra" | "different";

const put = z.tuple([z.object({ n: z.coerce.number(), last: z.string().nullable() })]);

/** Adds what the CTE `put` has to the deployment's counters, in the transaction that repairs. */
const counted = (kind: RepairKind) => sql`
  counted as (
    insert into service_counters (name, part, value)
    select 'repairs', ${kind}, count(*) from put having count(*) > 0
    on conflict (name, part) do update set value = service_counters.value + excluded.value
  )
  select count(*) as n, max(log_id::text) as last from put`;

/**
 * Puts logs back into the outbox, due at once. What is in it already is left to it, what the index can
 * never take stays among the failures, and what is no log is not put.
 *
 * @param logs each with the least revision that it must have
 * @returns how many were put
 */
export async function putBack(
  db: Database,
  tenantId: string,
  logs: readonly { id: string; minRev: number }[],
  kind: RepairKind,
): Promise<number> {
  if (logs.length === 0) return 0;
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      with put as (
        insert into pending_index (tenant_id, log_id, rev, due_at, put_back_at)
        select tenant_id, id, greatest(wanted.rev, repair_rev()), clock_timestamp(), clock_timestamp()
        from audit_logs join unnest(
          ${sql.param(logs.map((log) => log.id))}::uuid[],
          ${sql.param(logs.map((log) => log.minRev))}::int[]
        ) as wanted (log_id, rev) on audit_logs.id = wanted.log_id
        where tenant_id = ${tenantId}
          and not exists (
            select from index_failures
            where tenant_id = ${tenantId} and index_failures.log_id = audit_logs.id
          )
        on conflict do nothing
        returning log_id
      ), ${counted(kind)}`),
  ]);
  return put.parse(result.rows)[0].n;
}

/**
 * The same for a slice of which the index has nothing: its first logs that do not wait already.
 *
 * @param limit logs at most
 * @returns how many were put, and the last of them
 */
export async function putBackSlice(
  db: Database,
  slice: LogSlice,
  limit: number,
): Promise<{ count: number; lastId: string | null }> {
  const { tenantId } = slice;
  const { fromId, toId } = idBounds(slice);
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      with put as (
        insert into pending_index (tenant_id, log_id, rev, due_at, put_back_at)
        select tenant_id, id, repair_rev(), clock_timestamp(), clock_timestamp() from audit_logs
        where tenant_id = ${tenantId} and id >= ${fromId} and id < ${toId}
          and not exists (select from pending_index where tenant_id = ${tenantId} and log_id = audit_logs.id)
          and not exists (select from index_failures where tenant_id = ${tenantId} and log_id = audit_logs.id)
        order by id limit ${limit}
        on conflict do nothing
        returning log_id
      ), ${counted("missing")}`),
  ]);
  const [{ n, last }] = put.parse(result.rows);
  return { count: n, lastId: last };
}

/** Counts documents that were deleted. */
export async function countExtra(db: Database, count: number): Promise<void> {
  await asRole(db, "audit_maintenance", [
    db.execute(sql`
      insert into service_counters (name, part, value) values ('repairs', 'extra', ${count})
      on conflict (name, part) do update set value = service_counters.value + excluded.value`),
  ]);
}

const waiting = z.tuple([z.object({ n: z.coerce.number() })]);

/** How many logs wait in the outbox: never more than `limit`, which bounds the count's cost. */
export async function countWaiting(db: Database, limit: number): Promise<number> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(
      sql`select count(*) as n from (select from pending_index limit ${limit}) as waiting`,
    ),
  ]);
  return waiting.parse(result.rows)[0].n;
}
