import { and, desc, eq, lt, type SQL, sql } from "drizzle-orm";
import type { ExportCompression, ExportFormat, ShownFilters } from "../events/export.ts";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { LogFilter } from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import {
  batchTime,
  beginClaims,
  type DoneOnce,
  keyStatements,
  parseKept,
  underKey,
} from "./idempotency.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { exportPipelines } from "./schema.ts";
import { beginWrite, withMonth } from "./write-logs.ts";

export type ExportRow = typeof exportPipelines.$inferSelect;

export type NewExport = {
  format: ExportFormat;
  compression: ExportCompression;
  columns: readonly string[];
  filters: LogFilter;
  shownFilters: ShownFilters;
  requestedBy: string;
};

/**
 * Stores an export, once for an idempotency key, and the log that it was started. It covers what was stored
 * before the millisecond after this request reached the database, by its clock: in that one stands its log.
 *
 * @param key where the caller has named none, one that no other request has
 */
export async function startExport(
  db: Database,
  scope: TenantScope,
  wanted: NewExport,
  key: IdempotencyKey,
  log: NewAuditLog,
): Promise<DoneOnce<{ row: ExportRow }>> {
  const upper = sql`${batchTime} + interval '1 millisecond'`;
  const done = await underKey(async (nonce, nonces) => {
    const { claim, isMine, keep, read, firstId } = keyStatements(db, scope, key, nonce);
    const [, , , , own, kept, rows] = await withMonth(db, scope, () =>
      inTenant(db, scope, [
        ...beginWrite(db, scope),
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
              ${JSON.stringify(wanted.shownFilters)}::json, ${wanted.requestedBy}, at, first_id_at(${upper})
            from (select ${batchTime} as at) as stamp
            where ${isMine}
            returning id
          ), kept as (
            ${keep(sql`(select array_agg(id) from started)`, sql`1`)}
          ), ${storeOwnLog(scope, log, { from: sql`started`, fields: exportId(sql`started`), at: upper })}
          select id from own`),
        read(),
        db.select().from(exportPipelines).where(isExportOf(scope, firstId)),
      ]),
    );
    return { kept: parseKept(kept.rows[0], nonces), row: rows[0], ownId: ownIdOf(own) };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, row, ownId } = done;
  if (!kept || !row) throw new Error("The export that was stored is not there.");
  if (!kept.isSameBody) return { outcome: "other body" };
  return { outcome: "done", isReplay: kept.isReplay, row, ownId };
}

/** What an own log of an export takes from its row. */
export const exportId = (of: SQL): SQL => sql`jsonb_build_object('resource_id', ${of}.id)`;

export const isExportOf = (scope: TenantScope, id: string | SQL): SQL | undefined =>
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
