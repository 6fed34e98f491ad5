import { sql, type SQL } from "drizzle-orm";
import { z } from "zod";
import { asRole, type Database } from "./client.ts";

export const reindexStates = [
  // Nothing is done yet.
  "PENDING",
  // The indexer writes into both indices; the job copies what was stored before.
  "COPYING",
  // All is copied: the new index is compared with Postgres.
  "VERIFYING",
  // They are equal: the aliases are being swapped, and it cannot be cancelled any more.
  "SWAPPING",
  // Searches read the new index. The indexer still writes into both.
  "SWAPPED",
  // The indexer writes into the new index only; the old one is to be deleted.
  "CLEANING",
  "DONE",
  // The indexer writes into the old index only; the new one is to be deleted.
  "CANCELLING",
  "CANCELLED",
  "FAILING",
  "FAILED",
] as const;
export type ReindexState = (typeof reindexStates)[number];

const row = z
  .object({
    month: z.string(),
    state: z.enum(reindexStates),
    from_id: z.string(),
    to_id: z.string(),
    source_index: z.string().nullable(),
    target_index: z.string().nullable(),
    bound_id: z.string().nullable(),
    tenant: z.string(),
    last_id: z.string().nullable(),
    logs_copied: z.coerce.number(),
    logs_total: z.coerce.number().nullable(),
    error: z.string().nullable(),
    requested_by: z.string(),
    requested_at: z.coerce.date(),
    finished_at: z.coerce.date().nullable(),
    seconds_swapped: z.coerce.number().nullable(),
  })
  .transform((found) => ({
    month: found.month,
    state: found.state,
    fromId: found.from_id,
    toId: found.to_id,
    sourceIndex: found.source_index,
    targetIndex: found.target_index,
    boundId: found.bound_id,
    tenant: found.tenant,
    lastId: found.last_id,
    logsCopied: found.logs_copied,
    logsTotal: found.logs_total,
    error: found.error,
    requestedBy: found.requested_by,
    requestedAt: found.requested_at,
    finishedAt: found.finished_at,
    secondsSwapped: found.seconds_swapped,
  }));

/** A month that is, or was, written into a new index. */
export type Reindex = z.infer<typeof row>;

const all = sql`
  select *, extract(epoch from clock_timestamp() - swapped_at) as seconds_swapped from reindexes order by month`;

/** The months that there are to reindex: of the partitions of audit_logs, those that have begun. */
const begunMonths = sql`
  select replace(right(inhrelid::regclass::text, 7), '_', '.') as month from pg_inherits
  where inhparent = 'audit_logs'::regclass
    and right(inhrelid::regclass::text, 7) <= to_char(clock_timestamp() at time zone 'UTC', 'YYYY_MM')`;

/**
 * Asks for months to be reindexed. One that is under way goes on as it is.
 *
 * @param month `2026.11`; undefined for all that have begun
 * @returns every month that was ever asked for; and how many the request named
 */
export async function requestReindex(
  db: Database,
  month: string | undefined,
  requestedBy: string,
): Promise<{ rows: Reindex[]; named: number }> {
  const wanted: SQL = sql`
    from (${begunMonths}) as begun where ${month ?? null}::text is null or month = ${month ?? null}`;
  const [named, , rows] = await asRole(db, "audit_operator", [
    db.execute(sql`select count(*) as n ${wanted}`),
    db.execute(sql`
      insert into reindexes (month, from_id, to_id, requested_by)
      select month, first_id_at(begins at time zone 'UTC'),
        first_id_at((begins + interval '1 month') at time zone 'UTC'), ${requestedBy}
      from (select month, to_date(month, 'YYYY.MM')::timestamp as begins ${wanted}) as months
      on conflict (month) do update set
        state = 'PENDING', source_index = null, target_index = null, settle_after = null, bound_id = null,
        tenant = '', last_id = null, logs_copied = 0, logs_total = null, error = null,
        requested_by = excluded.requested_by, requested_at = clock_timestamp(), swapped_at = null, finished_at = null
      where reindexes.state in ('DONE', 'CANCELLED', 'FAILED')`),
    db.execute(all),
  ]);
  return {
    rows: z.array(row).parse(rows.rows),
    named: z.coerce.number().parse(named.rows[0]?.["n"]),
  };
}

/** Every month that was ever asked for. */
export async function listReindexes(db: Database): Promise<Reindex[]> {
  const [rows] = await asRole(db, "audit_operator", [db.execute(all)]);
  return z.array(row).parse(rows.rows);
}

/** Gives up a month, before its aliases were swapped. */
export async function cancelReindex(
  db: Database,
  month: string,
): Promise<{ rows: Reindex[]; changed: boolean }> {
  const [changed, rows] = await asRole(db, "audit_operator", [
    db.execute(sql`
      update reindexes set state = 'CANCELLING'
      where month = ${month} and state in ('PENDING', 'COPYING', 'VERIFYING') returning month`),
    db.execute(all),
  ]);
  return { rows: z.array(row).parse(rows.rows), changed: changed.rows.length > 0 };
}

/** The month to work on: the one that is under way, or the first that waits. */
export async function nextReindex(db: Database): Promise<Reindex | undefined> {
  const [rows] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select *, extract(epoch from clock_timestamp() - swapped_at) as seconds_swapped from reindexes
      where state not in ('DONE', 'CANCELLED', 'FAILED')
      order by state = 'PENDING', month limit 1`),
  ]);
  return z.array(row).parse(rows.rows)[0];
}

/** Whether a month has any log. */
export async function hasLogs(
  db: Database,
  ids: { fromId: string; toId: string },
): Promise<boolean> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(
      sql`select 1 from audit_logs where id >= ${ids.fromId} and id < ${ids.toId} limit 1`,
    ),
  ]);
  return result.rows.length > 0;
}

/** What a step changes; only where nobody changed the state in between. */
export type ReindexChanges = {
  state?: ReindexState;
  source_index?: string;
  target_index?: string;
  tenant?: string;
  last_id?: string | null;
  logs_copied?: number;
  logs_total?: number | null;
  error?: string | null;
  swapped_at?: SQL;
  finished_at?: SQL;
  settle_after?: null;
  bound_id?: null;
};

/** @returns false where the month is no longer in the state that it was read in: it was cancelled */
export async function changeReindex(
  db: Database,
  { month, state }: Pick<Reindex, "month" | "state">,
  changes: ReindexChanges,
): Promise<boolean> {
  const assignments = Object.entries(changes).map(
    ([name, value]) => sql`${sql.identifier(name)} = ${value}`,
  );
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      update reindexes set ${sql.join(assignments, sql`, `)}
      where month = ${month} and state = ${state} returning month`),
  ]);
  return result.rows.length > 0;
}

/**
 * Settles which logs the copy is for. Its state was committed before this call: so a log whose id is from
 * `settle_after` on was stored later, and who reads it from the outbox sees that it goes into both indices.
 * Every older one can be seen once safe_time() has passed that time.
 *
 * @returns the first id that the copy leaves to the indexer; null while writes from before are under way
 */
export async function settleBound(db: Database, month: string): Promise<string | null> {
  const [, , result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      update reindexes set settle_after = clock_timestamp()
      where month = ${month} and settle_after is null`),
    // A statement of its own: everything stored before safe_time() is seen by those that begin after it.
    db.execute(sql`
      update reindexes set bound_id = first_id_at(settle_after + interval '1 millisecond')
      where month = ${month} and bound_id is null and safe_time() > settle_after + interval '1 millisecond'`),
    db.execute(sql`select bound_id from reindexes where month = ${month}`),
  ]);
  return z.object({ bound_id: z.string().nullable() }).parse(result.rows[0]).bound_id;
}

/** About how many logs a month has: counted, which takes a moment for millions; null where that takes too long. */
export async function countMonth(
  db: Database,
  ids: { fromId: string; toId: string },
): Promise<number | null> {
  try {
    const [, result] = await asRole(db, "audit_maintenance", [
      db.execute(sql`set local statement_timeout = '4s'`),
      db.execute(
        sql`select count(*) as n from audit_logs where id >= ${ids.fromId} and id < ${ids.toId}`,
      ),
    ]);
    return z.coerce.number().parse(result.rows[0]?.["n"]);
  } catch {
    return null;
  }
}
