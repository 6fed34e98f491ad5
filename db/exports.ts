import { and, desc, eq, inArray, lt, type SQL, sql } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type {
  ExportCompression,
  ExportFormat,
  ExportStatus,
  ShownFilters,
} from "../events/export.ts";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import type { LogFilter } from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { batchTime, beginClaims, keyStatements, parseKept, underKey } from "./idempotency.ts";
import { exportPipelines } from "./schema.ts";

export type ExportRow = typeof exportPipelines.$inferSelect;

export type NewExport = {
  format: ExportFormat;
  compression: ExportCompression;
  columns: readonly string[];
  filters: LogFilter;
  shownFilters: ShownFilters;
  requestedBy: string;
};

/** What was done, by this request or by an earlier one with its key; or why nothing was. */
export type DoneOnce<T> =
  | ({ outcome: "done"; isReplay: boolean } & T)
  | { outcome: "other body" | "in progress" };

/**
 * Stores an export, once for an idempotency key. It covers what was stored before the millisecond after this
 * request reached the database, by its clock.
 *
 * @param key where the caller has named none, one that no other request has
 */
export async function startExport(
  db: Database,
  scope: TenantScope,
  wanted: NewExport,
  key: IdempotencyKey,
): Promise<DoneOnce<{ row: ExportRow }>> {
  const done = await underKey(async (nonce, nonces) => {
    const { claim, isMine, keep, read, firstId } = keyStatements(db, scope, key, nonce);
    const [, , , kept, rows] = await inTenant(db, scope, [
      db.execute(beginClaims),
      claim(),
      db.execute(sql`
        with started as (
          insert into export_pipelines (
            tenant_id, id, format, compression, columns, filters, shown_filters, requested_by, created_at,
            upper_id
          )
          select
            ${scope.tenantId}, audit_log_id(at, 0), ${wanted.format}, ${wanted.compression},
            ${JSON.stringify(wanted.columns)}::json, ${JSON.stringify(wanted.filters)}::json,
            ${JSON.stringify(wanted.shownFilters)}::json, ${wanted.requestedBy}, at,
            first_id_at(at + interval '1 millisecond')
          from (select ${batchTime} as at) as stamp
          where ${isMine}
          returning id
        )
        ${keep(sql`(select array_agg(id) from started)`, sql`1`)}`),
      read(),
      db.select().from(exportPipelines).where(isExportOf(scope, firstId)),
    ]);
    return { kept: parseKept(kept.rows[0], nonces), row: rows[0] };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, row } = done;
  if (!kept || !row) throw new Error("The export that was stored is not there.");
  if (!kept.isSameBody) return { outcome: "other body" };
  return { outcome: "done", isReplay: kept.isReplay, row };
}

const isExportOf = (scope: TenantScope, id: string | SQL): SQL | undefined =>
  and(eq(exportPipelines.tenantId, scope.tenantId), eq(exportPipelines.id, id));

/** One export, or undefined where the tenant has none of this id. */
export async function readExport(
  db: Database,
  scope: TenantScope,
  id: string,
): Promise<ExportRow | undefined> {
  const query = db.select().from(exportPipelines).where(isExportOf(scope, id));
  const [rows] = await inTenant(db, scope, [query]);
  return rows[0];
}

/** The tenant's exports, newest first: at most `size` of those before `after`. */
export async function listExports(
  db: Database,
  scope: TenantScope,
  after: string | null,
  size: number,
): Promise<ExportRow[]> {
  const query = db
    .select()
    .from(exportPipelines)
    .where(
      and(
        eq(exportPipelines.tenantId, scope.tenantId),
        after === null ? undefined : lt(exportPipelines.id, after),
      ),
    )
    .orderBy(desc(exportPipelines.id))
    .limit(size);
  const [rows] = await inTenant(db, scope, [query]);
  return rows;
}

/** `changed` where the call did it; the row is undefined where the tenant has no export of this id. */
export type ChangedExport = { row: ExportRow | undefined; changed: boolean };

/** Cancels an export that is not over, or failed: whoever works on it sees that at the next checkpoint. */
export async function cancelExport(
  db: Database,
  scope: TenantScope,
  id: string,
): Promise<ChangedExport> {
  return change(db, scope, id, ["PENDING", "IN_PROGRESS", "FAILED"], {
    status: "CANCELLED",
    finishedAt: sql`clock_timestamp()`,
  });
}

const pendingAgain = {
  status: "PENDING",
  finishedAt: null,
  tries: 0,
  dueAt: sql`clock_timestamp() + interval '60 seconds'`,
  errorCode: null,
  errorMessage: null,
} as const;

/** For so long a failed export can be tried again: retention keeps what it covers for a day more. */
const canBeRetried = sql`finished_at > clock_timestamp() - interval '7 days'`;

/** Makes a failed export pending again, at its checkpoint; once for an idempotency key, where there is one. */
export async function retryExport(
  db: Database,
  scope: TenantScope,
  id: string,
  key: IdempotencyKey | undefined,
): Promise<DoneOnce<ChangedExport>> {
  if (key === undefined) {
    const changed = await change(db, scope, id, ["FAILED"], pendingAgain, canBeRetried);
    return { outcome: "done", isReplay: false, ...changed };
  }
  const done = await underKey(async (nonce, nonces) => {
    const { claim, isMine, keep, read } = keyStatements(db, scope, key, nonce);
    const update = db
      .update(exportPipelines)
      .set(pendingAgain)
      .where(and(isExportOf(scope, id), eq(exportPipelines.status, "FAILED"), canBeRetried, isMine))
      .returning({ id: exportPipelines.id });
    const [, , , kept, rows] = await inTenant(db, scope, [
      db.execute(beginClaims),
      claim(),
      // Where it was not failed the key stands for nothing, and is free.
      db.execute(sql`
        with changed as ${update} ${keep(sql`(select array_agg(id) from changed)`, sql`1`)}`),
      read(),
      db.select().from(exportPipelines).where(isExportOf(scope, id)),
    ]);
    return { kept: parseKept(kept.rows[0], nonces), row: rows[0] };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, row } = done;
  if (kept?.isSameBody === false) return { outcome: "other body" };
  const isReplay = kept?.isReplay === true;
  return { outcome: "done", isReplay, row, changed: kept !== undefined };
}

async function change(
  db: Database,
  scope: TenantScope,
  id: string,
  from: ExportStatus[],
  changes: PgUpdateSetSource<typeof exportPipelines>,
  condition?: SQL,
): Promise<ChangedExport> {
  const [changed, rows] = await inTenant(db, scope, [
    db
      .update(exportPipelines)
      .set(changes)
      .where(and(isExportOf(scope, id), inArray(exportPipelines.status, from), condition))
      .returning({ id: exportPipelines.id }),
    db.select().from(exportPipelines).where(isExportOf(scope, id)),
  ]);
  return { row: rows[0], changed: changed.length > 0 };
}
