import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { firstIdAt } from "../events/ids.ts";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { asRetention, type Database, DatabaseUnavailable, inTenant } from "./client.ts";
import { countOutboxRows } from "./counters.ts";
import { beginClaims, keyStatements, ownKey, underKey } from "./idempotency.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { recordReplaced } from "./removal-log.ts";
import { timeMs, timeText } from "./time-text.ts";
import { beginWrite, makeOwnTenant, withMonth } from "./write-logs.ts";

/** What is to be removed of a tenant: logs that were stored before the cutoff, in milliseconds since 1970. */
export type RetentionRun = {
  tenantId: string;
  cutoff: number;
  /** How long logs are kept where the tenant has set nothing. Null: for ever, so in the daily run. */
  defaultDays: number | null;
  /** No log is left before this id. */
  position: string;
};

const ms = z.coerce.number();
const asTime = (ms: number) => sql`to_timestamp(${ms}::bigint / 1000.0)`;

const askedRow = z.object({ legal_hold: z.boolean(), cutoff_ms: ms, position: z.string() });

/** What a tenant's admin may remove: undefined under a legal hold. */
export type Removable = RetentionRun | undefined;

const noPosition = firstIdAt(0);

/** What an admin who asks now may remove. It changes nothing, but that the tenant is known from here on. */
export async function readRemovable(
  db: Database,
  scope: TenantScope,
  defaultDays: number,
): Promise<Removable> {
  const [, result] = await inTenant(db, scope, [
    makeOwnTenant(db, scope),
    selectRemovable(db, scope, cutoffBy(defaultDays)),
  ]);
  return removableOf(result.rows[0], scope, defaultDays);
}

/**
 * Keeps that an admin wants the old logs removed, so that what this request does not get done is done by the
 * cron: first after a minute, which this request has for itself. Where no answer came it is tried again, and
 * kept and recorded once.
 *
 * @param log that it was asked for
 * @throws DatabaseUnavailable also where something else holds the tenant's run for too long
 */
export async function askForRemoval(
  db: Database,
  scope: TenantScope,
  defaultDays: number,
  log: NewAuditLog,
): Promise<{ run: Removable; ownId: string | undefined }> {
  const fields = sql`jsonb_build_object('metadata', jsonb_build_object('cutoff', ${timeText(sql`asked.cutoff`)})::text)`;
  const key = ownKey("cleanup");
  const done = await underKey(async (nonce) => {
    const { claim, isMine, keep } = keyStatements(db, scope, key, nonce);
    const [, , , , , own, result] = await withMonth(db, scope, () =>
      inTenant(db, scope, [
        ...beginWrite(db, scope),
        db.execute(beginClaims),
        claim(),
        recordReplaced(db, scope, isMine),
        db.execute(sql`
          with asked as (
            insert into retention_runs (tenant_id, cutoff, fallback_days, asked_log, due_at)
            select id, ${cutoffBy(defaultDays)}, ${defaultDays}::integer, ${JSON.stringify(log)}::json,
              clock_timestamp() + interval '1 minute'
            from tenants where id = ${scope.tenantId} and not legal_hold and ${isMine}
            on conflict (tenant_id) do update set
              cutoff = excluded.cutoff, fallback_days = excluded.fallback_days, asked_log = excluded.asked_log,
              due_at = excluded.due_at
            returning cutoff
          ), ${storeOwnLog(scope, log, { from: sql`asked`, fields })}, kept as (
            ${keep(sql`(select array_agg(id) from own)`, sql`1`)}
          )
          select id from own`),
        // What was just kept: not a moment later.
        selectRemovable(db, scope, sql`asked.cutoff`),
      ]),
    );
    return { run: removableOf(result.rows[0], scope, defaultDays), ownId: ownIdOf(own) };
  });
  if (done === null) throw new DatabaseUnavailable(new Error("the tenant's removal is held"));
  return done;
}

const cutoffBy = (defaultDays: number) => sql`cutoff_of(kept_days(
  retention_days, retention_days_before, retention_takes_effect_at, ${defaultDays}::integer
))`;

function selectRemovable(db: Database, { tenantId }: TenantScope, cutoff: SQL) {
  return db.execute(sql`
    select legal_hold, ${timeMs(cutoff)} as cutoff_ms,
      coalesce(asked.position, ${noPosition}) as position
    from tenants left join retention_runs as asked on asked.tenant_id = tenants.id
    where tenants.id = ${tenantId}`);
}

function removableOf(row: unknown, { tenantId }: TenantScope, defaultDays: number): Removable {
  const { legal_hold: isHeld, cutoff_ms, position } = askedRow.parse(row);
  return isHeld ? undefined : { tenantId, cutoff: cutoff_ms, defaultDays, position };
}

const countedRow = z.object({ n: ms, last: z.string().nullable() });

/** Logs that are counted by one statement: some ten milliseconds. */
const countedAtOnce = 50_000;

/**
 * How many logs a run would remove, counted by the primary key until a time comes.
 *
 * @param until milliseconds since 1970
 */
export async function countRemovable(
  db: Database,
  scope: TenantScope,
  run: RetentionRun,
  until: number,
): Promise<{ count: number; isLowerBound: boolean }> {
  let count = 0;
  for (let after = noPosition; ;) {
    const [result] = await inTenant(db, scope, [
      db.execute(sql`
        select count(*) as n, max(id::text) as last from (
          select id from audit_logs
          where tenant_id = ${run.tenantId} and id > ${after} and id < ${firstIdAt(run.cutoff)}
          order by id limit ${countedAtOnce}
        ) as counted`),
    ]);
    const { n, last } = countedRow.parse(result.rows[0]);
    count += n;
    if (n < countedAtOnce || last === null) return { count, isLowerBound: false };
    if (Date.now() >= until) return { count, isLowerBound: true };
    after = last;
  }
}

/**
 * `more`: there is more to remove at once. `done`: nothing is left before the cutoff. `held`: the tenant is
 * under a legal hold. `waiting`: what is left is covered by an export that is not over.
 */
export type RunState = "more" | "done" | "held" | "waiting";

export type Chunk = {
  removed: number;
  position: string;
  state: RunState;
  /** As the run has it; earlier where the tenant's logs have come to be kept for longer meanwhile. */
  cutoff: number;
};

const removedRow = z.object({ n: ms, through: z.string().nullable() });
const stateRow = z.object({
  legal_hold: z.boolean(),
  cutoff_ms: ms,
  bound: z.string(),
  next: z.string().nullable(),
});

const within = ({ tenantId, cutoff, position }: RetentionRun) => sql`
  tenant_id = ${tenantId} and id >= ${position} and id < ${firstIdAt(cutoff)}::uuid`;

/**
 * The statement that removes the oldest logs of a run. least(), not coalesce(): a policy keeps that out of the
 * index, so that a chunk would read what is left of its month.
 */
export const deleteOldest = (run: RetentionRun, limit: number): SQL => sql`
  delete from audit_logs
  where ${within(run)} and id <= least(
    (select id from audit_logs where ${within(run)} order by id offset ${limit - 1} limit 1),
    ${firstIdAt(run.cutoff)}::uuid
  )`;

/**
 * Removes the oldest logs of a run, and all that stands for them in Postgres, in one short transaction; with
 * it OpenSearch is to lose them. What must stay is not removed, whatever the run says: see retention_bound().
 *
 * @param limit logs at most
 */
export async function removeChunk(
  db: Database,
  run: RetentionRun,
  limit: number,
  timeoutMs: number,
): Promise<Chunk> {
  const { tenantId, position } = run;
  const isOfGone = sql`tenant_id = ${tenantId} and log_id >= ${position}
    and log_id <= (select through_id from index_removals where tenant_id = ${tenantId})`;
  const statements = [
    db.execute(sql`select lock_retention(${tenantId})`),
    db.execute(sql`
      with gone as (
        ${deleteOldest(run, limit)} returning id
      ), removed as (
        select count(*) as n, max(id::text)::uuid as through from gone
      ), counted as (
        insert into service_counters (name, part, value)
        select 'logs_removed', 'retention', n from removed where n > 0
        on conflict (name, part) do update set value = service_counters.value + excluded.value
      ), to_remove as (
        insert into index_removals (tenant_id, through_id)
        select ${tenantId}, through from removed where n > 0
        on conflict (tenant_id) do update set
          through_id = greatest(index_removals.through_id, excluded.through_id),
          raised_at = excluded.raised_at, due_at = excluded.due_at,
          waiting_since = coalesce(index_removals.waiting_since, excluded.waiting_since)
      ), moved as (
        update retention_runs set position = greatest(position, through), removed = retention_runs.removed + n,
          removed_before = greatest(removed_before, least(${asTime(run.cutoff)}, retention_cutoff()))
        from removed where tenant_id = ${tenantId} and n > 0
      )
      select n, through from removed`),
    // Only of logs that are gone: so the policies have it.
    db.execute(sql`
      with gone as (delete from pending_index where ${isOfGone} returning is_first)
      ${countOutboxRows(false)}`),
    db.execute(sql`delete from index_failures where ${isOfGone}`),
    db.execute(sql`
      select legal_hold, ${timeMs(sql`retention_cutoff()`)} as cutoff_ms, retention_bound() as bound,
        (select id from audit_logs where ${within(run)} order by id limit 1) as next
      from tenants where id = ${tenantId}`),
  ] as const;
  const results = await asRetention(db, run, statements, timeoutMs);
  const { n, through } = removedRow.parse(results[1].rows[0]);
  const state = stateRow.parse(results[4].rows[0]);
  return {
    removed: n,
    position: through ?? position,
    state: stateOf(state),
    cutoff: Math.min(run.cutoff, state.legal_hold ? run.cutoff : state.cutoff_ms),
  };
}

function stateOf({ legal_hold, cutoff_ms, bound, next }: z.infer<typeof stateRow>): RunState {
  if (legal_hold) return "held";
  if (next === null || next >= firstIdAt(cutoff_ms)) return "done";
  return next < bound ? "more" : "waiting";
}
