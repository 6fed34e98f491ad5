import { and, desc, eq, inArray, lt, type SQL, sql } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type {
  ExportCompression,
  ExportFormat,
  ExportStatus,
  ShownFilters,
} from "../events/export.ts";
import type { LogFilter } from "../events/log-filter.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { exportKeys, exportPipelines } from "./schema.ts";

export type ExportRow = typeof exportPipelines.$inferSelect;

export type NewExport = {
  format: ExportFormat;
  compression: ExportCompression;
  columns: readonly string[];
  filters: LogFilter;
  shownFilters: ShownFilters;
  requestedBy: string;
};

/** `replayed` where the key was used before within its time, and `sameBody` where that was with this body. */
export type StartedExport = { row: ExportRow; replayed: boolean; sameBody: boolean };

/**
 * Stores an export, once for an idempotency key: requests that race for one wait for each other at its row.
 * It covers what was stored before the millisecond after the key was claimed, by the database's clock.
 *
 * @param key the caller's own, or undefined: then every call is a new export
 * @param bodyMac says of two requests whether their bodies are the same
 */
export async function startExport(
  db: Database,
  scope: TenantScope,
  wanted: NewExport,
  key: string | undefined,
  bodyMac: string,
): Promise<StartedExport> {
  const nonce = crypto.randomUUID();
  const { tenantId } = scope;
  const keyOrNonce = key ?? nonce;
  const [, , rows] = await inTenant(db, scope, [
    db.execute(sql`
      insert into export_keys (tenant_id, sub, key, body_mac, nonce, export_id, created_at)
      select ${tenantId}, ${wanted.requestedBy}, ${keyOrNonce}, ${bodyMac}, ${nonce}::uuid, audit_log_id(at, 0), at
      from (select date_trunc('milliseconds', clock_timestamp()) as at) as stamp
      on conflict (tenant_id, sub, key) do update set
        body_mac = excluded.body_mac, nonce = excluded.nonce,
        export_id = excluded.export_id, created_at = excluded.created_at
      where export_keys.created_at < clock_timestamp() - interval '24 hours'`),
    db.execute(sql`
      insert into export_pipelines (
        tenant_id, id, format, compression, columns, filters, shown_filters, requested_by, created_at, upper_id
      )
      select
        tenant_id, export_id, ${wanted.format}, ${wanted.compression}, ${JSON.stringify(wanted.columns)}::json,
        ${JSON.stringify(wanted.filters)}::json, ${JSON.stringify(wanted.shownFilters)}::json,
        ${wanted.requestedBy}, created_at, first_id_at(created_at + interval '1 millisecond')
      from export_keys
      where tenant_id = ${tenantId} and sub = ${wanted.requestedBy} and key = ${keyOrNonce}
        and nonce = ${nonce}::uuid`),
    db
      .select({ row: exportPipelines, nonce: exportKeys.nonce, bodyMac: exportKeys.bodyMac })
      .from(exportKeys)
      .innerJoin(
        exportPipelines,
        and(
          eq(exportPipelines.tenantId, exportKeys.tenantId),
          eq(exportPipelines.id, exportKeys.exportId),
        ),
      )
      .where(
        and(
          eq(exportKeys.tenantId, tenantId),
          eq(exportKeys.sub, wanted.requestedBy),
          eq(exportKeys.key, keyOrNonce),
        ),
      ),
  ]);
  const [found] = rows;
  if (!found) throw new Error("The export that was stored is not there.");
  return {
    row: found.row,
    replayed: found.nonce !== nonce,
    sameBody: found.bodyMac === bodyMac,
  };
}

const isExport = (scope: TenantScope, id: string): SQL | undefined =>
  and(eq(exportPipelines.tenantId, scope.tenantId), eq(exportPipelines.id, id));

/** One export, or undefined where the tenant has none of this id. */
export async function readExport(
  db: Database,
  scope: TenantScope,
  id: string,
): Promise<ExportRow | undefined> {
  const query = db.select().from(exportPipelines).where(isExport(scope, id));
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

/** Makes a failed export pending again, at its checkpoint. */
export async function retryExport(
  db: Database,
  scope: TenantScope,
  id: string,
): Promise<ChangedExport> {
  return change(db, scope, id, ["FAILED"], {
    status: "PENDING",
    finishedAt: null,
    tries: 0,
    dueAt: sql`clock_timestamp() + interval '60 seconds'`,
    errorCode: null,
    errorMessage: null,
  });
}

async function change(
  db: Database,
  scope: TenantScope,
  id: string,
  from: ExportStatus[],
  changes: PgUpdateSetSource<typeof exportPipelines>,
): Promise<ChangedExport> {
  const [changed, rows] = await inTenant(db, scope, [
    db
      .update(exportPipelines)
      .set(changes)
      .where(and(isExport(scope, id), inArray(exportPipelines.status, from)))
      .returning({ id: exportPipelines.id }),
    db.select().from(exportPipelines).where(isExport(scope, id)),
  ]);
  return { row: rows[0], changed: changed.length > 0 };
}
