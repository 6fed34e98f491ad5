import { sql, type SQL } from "drizzle-orm";
import { z } from "zod";
import { asRole, type Database, walPosition, type WalPosition } from "./client.ts";

/**
 * A comparison of Postgres with an index that goes on from run to run: slices of time, each for all tenants.
 * Times are milliseconds since 1970.
 */
export type Scan = {
  name: string;
  /** The index, or the alias, that is compared. */
  index: string;
  /** Empty: every tenant. */
  onlyTenant: string;
  from: number;
  until: number;
  /** How long a slice is. */
  width: number;
  /** Within the slice, tenants up to this one are done. */
  tenant: string;
  /** For the comparison of contents: the last log of that tenant that is done. */
  lastId: string | null;
  /** What was repaired since it began. */
  found: number;
  /** Searches are known to lack logs from `from` on. */
  holdsMark: boolean;
  beganAt: number;
  finishedAt: number | null;
};

const ms = z.coerce.number();
const scanRow = z
  .object({
    name: z.string(),
    index_name: z.string(),
    only_tenant: z.string(),
    slice_from: ms,
    until_ms: ms,
    width_ms: ms,
    tenant: z.string(),
    last_id: z.string().nullable(),
    found: ms,
    holds_mark: z.boolean(),
    began_ms: ms,
    finished_ms: ms.nullable(),
  })
  .transform((row): Scan => ({
    name: row.name,
    index: row.index_name,
    onlyTenant: row.only_tenant,
    from: row.slice_from,
    until: row.until_ms,
    width: row.width_ms,
    tenant: row.tenant,
    lastId: row.last_id,
    found: row.found,
    holdsMark: row.holds_mark,
    beganAt: row.began_ms,
    finishedAt: row.finished_ms,
  }));

const columns = sql`*,
  extract(epoch from began_at) * 1000 as began_ms, extract(epoch from finished_at) * 1000 as finished_ms`;

/** What the job knows when it begins: every scan, the database's clock, and the months that there are. */
export type ReconcileState = {
  scans: Map<string, Scan>;
  now: number;
  /** Everything stored before is there to see. */
  safeTime: number;
  /** Where the primary's log ended then. */
  walPosition: WalPosition;
  /** The months of audit_logs, as `2026.11`, and the index that each was last seen to have. */
  months: string[];
  indices: Map<string, string>;
  /** The index that a reindex gives, or has just given, to a month. */
  targets: Map<string, string>;
};

const stateRow = z.object({ now: ms, safe: ms, months: z.array(z.string()).nullable() });
const walRow = z.object({ position: z.string() });
const indexRow = z.object({ month: z.string(), index_uuid: z.string() });
const targetRow = z.object({ month: z.string(), target_index: z.string() });

export async function readReconcileState(db: Database): Promise<ReconcileState> {
  const [state, scans, indices, targets, wal] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select floor(extract(epoch from clock_timestamp()) * 1000) as now,
        floor(extract(epoch from safe_time()) * 1000) as safe,
        (
          select json_agg(replace(right(inhrelid::regclass::text, 7), '_', '.') order by 1)
          from pg_inherits where inhparent = 'audit_logs'::regclass
        ) as months`),
    db.execute(sql`select ${columns} from reconcile_progress`),
    db.execute(sql`select month, index_uuid from index_months`),
    db.execute(sql`
      select month, target_index from reindexes where state in ('SWAPPING', 'SWAPPED', 'CLEANING')`),
    db.execute(sql`select ${walPosition} as position`),
  ]);
  const { now, safe, months } = stateRow.parse(state.rows[0]);
  return {
    now,
    safeTime: safe,
    walPosition: walRow.parse(wal.rows[0]).position,
    months: (months ?? []).toSorted(),
    scans: new Map(
      z
        .array(scanRow)
        .parse(scans.rows)
        .map((scan) => [scan.name, scan]),
    ),
    indices: new Map(
      z
        .array(indexRow)
        .parse(indices.rows)
        .map((row) => [row.month, row.index_uuid]),
    ),
    targets: new Map(
      z
        .array(targetRow)
        .parse(targets.rows)
        .map((row) => [row.month, row.target_index]),
    ),
  };
}

export type NewScan = Pick<Scan, "name" | "index" | "from" | "until" | "width"> &
  Partial<Pick<Scan, "onlyTenant" | "holdsMark">>;

const beginning = (scan: NewScan): SQL => sql`
  insert into reconcile_progress (name, index_name, only_tenant, slice_from, until_ms, width_ms, holds_mark)
  values (
    ${scan.name}, ${scan.index}, ${scan.onlyTenant ?? ""}, ${scan.from}, ${scan.until}, ${scan.width},
    ${scan.holdsMark ?? false}
  )
  on conflict (name) do update set
    index_name = excluded.index_name, only_tenant = excluded.only_tenant, slice_from = excluded.slice_from,
    until_ms = excluded.until_ms, width_ms = excluded.width_ms, holds_mark = excluded.holds_mark,
    tenant = '', last_id = null, found = 0, began_at = clock_timestamp(), finished_at = null
  returning ${columns}`;

/** Begins a scan, or begins it again. */
export async function beginScan(db: Database, scan: NewScan): Promise<Scan> {
  const [result] = await asRole(db, "audit_maintenance", [db.execute(beginning(scan))]);
  return scanRow.parse(result.rows[0]);
}

/** Keeps how far a scan is; over, when it is at its end. A scan of a gap is then forgotten. */
export async function saveScan(db: Database, scan: Scan): Promise<void> {
  await asRole(db, "audit_maintenance", [
    db.execute(sql`
      update reconcile_progress set
        slice_from = ${scan.from}, tenant = ${scan.tenant}, last_id = ${scan.lastId}, width_ms = ${scan.width},
        found = ${scan.found},
        finished_at = case when ${scan.from >= scan.until} then clock_timestamp() end
      where name = ${scan.name}`),
    db.execute(sql`
      delete from reconcile_progress
      where name = ${scan.name} and holds_mark and finished_at is not null`),
  ]);
}

/**
 * Keeps which index each month has. A month whose index is another, or none, gets a scan that holds
 * `indexed_through` back until it has passed, in the same transaction.
 *
 * @param lost scans of the months that lost their index
 */
export async function saveIndices(
  db: Database,
  indices: ReadonlyMap<string, string>,
  lost: readonly NewScan[],
): Promise<void> {
  await asRole(db, "audit_maintenance", [
    db.execute(
      sql`delete from index_months where month <> all(${sql.param([...indices.keys()])}::text[])`,
    ),
    db.execute(sql`
      insert into index_months (month, index_uuid)
      select * from unnest(
        ${sql.param([...indices.keys()])}::text[], ${sql.param([...indices.values()])}::text[]
      )
      on conflict (month) do update set index_uuid = excluded.index_uuid`),
    ...lost.map((scan) => db.execute(beginning(scan))),
  ]);
}

/** Keeps that a month has a new index, which has lost nothing. */
export async function saveIndex(db: Database, month: string, uuid: string): Promise<void> {
  await asRole(db, "audit_maintenance", [
    db.execute(sql`
      insert into index_months (month, index_uuid) values (${month}, ${uuid})
      on conflict (month) do update set index_uuid = excluded.index_uuid`),
  ]);
}
