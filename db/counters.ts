import { sql, type SQL } from "drizzle-orm";
import { z } from "zod";
import { exportStatuses } from "../events/export.ts";
import { idTime } from "../events/ids.ts";
import { oldestAgeSeconds, waitingColumns, waitingRow } from "./backlog.ts";
import { asRole, type Database } from "./client.ts";

/** What is counted for the whole deployment, in `service_counters`: it only grows. */
export type CounterName =
  | "logs_stored"
  | "logs_indexed"
  | "logs_removed"
  | "repairs"
  | "degraded_searches"
  | "export_rows"
  | "export_bytes";

/** Writers of one counter at the same time, that do not wait for each other at a row. */
const slots = 16;
const anySlot = () => `slot-${Math.floor(Math.random() * slots)}`;

/**
 * Adds to a counter: a statement for the transaction of what it counts, so that both are true or none.
 *
 * @param part who adds, or what kind of thing is counted: parts of a counter are rows of their own
 */
const addToCounter = (name: CounterName, part: string, n: number): SQL =>
  sql`insert into service_counters (name, part, value) values (${name}, ${part}, ${n}::bigint) ${onConflictAdd}`;

const onConflictAdd = sql`
  on conflict (name, part) do update set value = service_counters.value + excluded.value`;

/**
 * The end of a statement whose `with` has deleted rows of the outbox as `gone (is_first)`: counts the logs
 * that were stored, once each, and where they became searchable those too.
 */
export function countOutboxRows(areIndexed: boolean): SQL {
  const slot = anySlot();
  const stored = sql`select 'logs_stored', ${slot}, count(*) filter (where is_first) from gone having count(*) > 0`;
  const indexed = sql`select 'logs_indexed', ${slot}, count(*) from gone having count(*) > 0`;
  // In one order, always: two that add to the same slot then never lock each other out.
  return sql`
    insert into service_counters (name, part, value)
    ${areIndexed ? sql`${indexed} union all ${stored}` : stored} ${onConflictAdd}`;
}

/** Adds searches that came from Postgres because OpenSearch did not answer. */
export async function addDegradedSearches(db: Database, n: number): Promise<void> {
  await asRole(db, "audit_api", [db.execute(addToCounter("degraded_searches", anySlot(), n))]);
}

export type OutboxFigures = {
  logs: number;
  /** 0 where it is empty. */
  oldestAgeSeconds: number;
  unsearchable: number;
};

const outboxRow = waitingRow.extend({
  logs: z.coerce.number(),
  first_time: z.coerce.number(),
  first_id: z.string().nullable(),
  unsearchable: z.coerce.number(),
});
const outboxColumns = sql`
  count(*) as logs, count(*) filter (where is_first) as first_time, min(log_id::text) as first_id,
  (select count(*) from index_failures) as unsearchable,
  ${waitingColumns}`;

const ageSeconds = (nowMs: number, thenMs: number) => Math.max(0, nowMs - thenMs) / 1000;

/** What waits for the index, of all tenants. */
export async function readOutboxFigures(db: Database): Promise<OutboxFigures> {
  const [result] = await asRole(db, "audit_operator", [
    db.execute(sql`select ${outboxColumns} from pending_index`),
  ]);
  return outboxFigures(outboxRow.parse(result.rows[0]));
}

const outboxFigures = (row: z.infer<typeof outboxRow>): OutboxFigures => ({
  logs: row.logs,
  oldestAgeSeconds: oldestAgeSeconds(row),
  unsearchable: row.unsearchable,
});

export type ServiceFigures = {
  outbox: OutboxFigures;
  /** How far the time before which everything is searchable lies behind the clock. */
  indexLagSeconds: number;
  logsStored: number;
  logsIndexed: number;
  exports: Record<string, number>;
  exportRows: number;
  exportBytes: number;
  /** By kind. */
  repairs: Record<string, number>;
  degradedSearches: number;
  logsRemoved: number;
  indexRemovals: IndexRemovals;
};

/** Tenants that the index may still have logs of which are gone, and since when the first of them waits. */
export type IndexRemovals = { tenants: number; oldestAgeSeconds: number };

const removalsRow = z.object({ tenants: z.coerce.number(), age: z.coerce.number() });

const safeRow = z.object({ ms: z.coerce.number(), lost_from: z.coerce.number().nullable() });
const figuresRow = outboxRow.extend({
  counters: z.array(z.object({ name: z.string(), part: z.string(), value: z.number() })),
});
const exportRows = z.array(z.object({ status: z.enum(exportStatuses), n: z.coerce.number() }));

/**
 * Everything that metrics show of the database, in one round trip. The outbox and the counters are read by
 * one statement, so that a log which leaves the one for the other in between is counted once.
 */
export async function readServiceFigures(db: Database): Promise<ServiceFigures> {
  const [safe, figures, exports, removals] = await asRole(db, "audit_operator", [
    // Before the outbox is read: see the settled mark.
    db.execute(sql`
      select floor(extract(epoch from safe_time()) * 1000) as ms,
        (select min(slice_from) from reconcile_progress) as lost_from`),
    db.execute(sql`
      select ${outboxColumns}, (
        select coalesce(json_agg(json_build_object('name', name, 'part', part, 'value', value)), '[]')
        from service_counters
      ) as counters
      from pending_index`),
    db.execute(sql`select status, count(*) as n from export_pipelines group by status`),
    db.execute(sql`
      select count(*) as tenants,
        coalesce(extract(epoch from clock_timestamp() - min(waiting_since)), 0) as age
      from index_removals where waiting_since is not null`),
  ]);
  const row = figuresRow.parse(figures.rows[0]);
  const { tenants, age } = removalsRow.parse(removals.rows[0]);
  const { ms: safeMs, lost_from: lostMs } = safeRow.parse(safe.rows[0]);
  const pendingMs = row.first_id === null ? safeMs : idTime(row.first_id);
  const searchableMs = Math.min(safeMs, pendingMs, lostMs ?? safeMs);
  const parts = (name: CounterName) => row.counters.filter((counter) => counter.name === name);
  const total = (name: CounterName) => parts(name).reduce((sum, { value }) => sum + value, 0);
  return {
    outbox: outboxFigures(row),
    indexLagSeconds: ageSeconds(row.now_ms, searchableMs),
    logsStored: total("logs_stored") + row.first_time,
    logsIndexed: total("logs_indexed"),
    exports: Object.fromEntries(exportRows.parse(exports.rows).map(({ status, n }) => [status, n])),
    exportRows: total("export_rows"),
    exportBytes: total("export_bytes"),
    repairs: Object.fromEntries(parts("repairs").map(({ part, value }) => [part, value])),
    degradedSearches: total("degraded_searches"),
    logsRemoved: total("logs_removed"),
    indexRemovals: { tenants, oldestAgeSeconds: Math.max(0, age) },
  };
}
