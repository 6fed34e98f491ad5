import { sql } from "drizzle-orm";
import { z } from "zod";
import { idBounds, type LogSlice, type LogSums } from "../events/log-slice.ts";
import { asRole, type Database } from "./client.ts";

/** Of each row `wanted` (tenant_id, from_id, to_id): the logs that the index must have by now. */
const settledSums = sql`
  cross join lateral (
    select count(*) as logs, coalesce(sum(id_check(id)), 0) as bits from audit_logs
    where tenant_id = wanted.tenant_id and id >= wanted.from_id and id < wanted.to_id
  ) as stored
  cross join lateral (
    select count(*) as logs, coalesce(sum(id_check(log_id)), 0) as bits from (
      select log_id from pending_index
      where tenant_id = wanted.tenant_id and log_id >= wanted.from_id and log_id < wanted.to_id
      union
      select log_id from index_failures
      where tenant_id = wanted.tenant_id and log_id >= wanted.from_id and log_id < wanted.to_id
    ) as either
  ) as waiting`;

const sumsRows = z.array(
  z.object({ tenant_id: z.string(), logs: z.coerce.number(), bits: z.coerce.number() }),
);

/**
 * The logs of slices that are in neither the outbox nor among the failures: those the index must have.
 * Only the primary key is read. A slice must end before safe_time().
 *
 * @returns one for each slice, in their order
 */
export async function sumSlices(db: Database, slices: readonly LogSlice[]): Promise<LogSums[]> {
  const bounds = slices.map(idBounds);
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select wanted.tenant_id, stored.logs - waiting.logs as logs, stored.bits - waiting.bits as bits
      from unnest(
        ${sql.param(slices.map((slice) => slice.tenantId))}::text[],
        ${sql.param(bounds.map((bound) => bound.fromId))}::uuid[],
        ${sql.param(bounds.map((bound) => bound.toId))}::uuid[]
      ) with ordinality as wanted (tenant_id, from_id, to_id, n)
      ${settledSums}
      order by n`),
  ]);
  return sumsRows.parse(result.rows).map(({ logs, bits }) => ({ logs, check: bits }));
}

/**
 * The same for a slice of time of every tenant, in the order of their bytes.
 *
 * @param after the tenant to go on after; empty at first
 * @param limit tenants at most
 */
export async function sumTenants(
  db: Database,
  time: { from: number; to: number },
  after: string,
  limit: number,
): Promise<(LogSums & { tenantId: string })[]> {
  const { fromId, toId } = idBounds(time);
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select wanted.tenant_id, stored.logs - waiting.logs as logs, stored.bits - waiting.bits as bits
      from (
        select id as tenant_id, ${fromId}::uuid as from_id, ${toId}::uuid as to_id from tenants
        where id collate "C" > ${after} order by id collate "C" limit ${limit}
      ) as wanted
      ${settledSums}
      order by wanted.tenant_id collate "C"`),
  ]);
  return sumsRows
    .parse(result.rows)
    .map(({ tenant_id: tenantId, logs, bits }) => ({ tenantId, logs, check: bits }));
}

const idRows = z.array(z.object({ id: z.string(), waits: z.boolean() }));

/**
 * The ids of a slice, and whether each waits for the index still, or cannot be taken by it.
 *
 * @param limit ids at most, the first ones
 */
export async function readSliceIds(
  db: Database,
  slice: LogSlice,
  limit: number,
): Promise<Map<string, { waits: boolean }>> {
  const { fromId, toId } = idBounds(slice);
  const { tenantId } = slice;
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select id,
        exists (select from pending_index where tenant_id = ${tenantId} and log_id = audit_logs.id)
        or exists (select from index_failures where tenant_id = ${tenantId} and log_id = audit_logs.id) as waits
      from audit_logs
      where tenant_id = ${tenantId} and id >= ${fromId} and id < ${toId}
      order by id limit ${limit}`),
  ]);
  return new Map(idRows.parse(result.rows).map(({ id, waits }) => [id, { waits }]));
}

const foundIds = z.array(z.object({ id: z.string() }));

/** Which of these ids are logs of the tenant, of whatever time. */
export async function findExisting(
  db: Database,
  tenantId: string,
  ids: readonly string[],
): Promise<Set<string>> {
  if (ids.length === 0) return new Set();
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select id from audit_logs
      where tenant_id = ${tenantId} and id = any(${sql.param([...ids])}::uuid[])`),
  ]);
  return new Set(foundIds.parse(result.rows).map(({ id }) => id));
}
