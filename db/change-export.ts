import { and, eq, inArray, type SQL, sql } from "drizzle-orm";
import type { PgUpdateSetSource } from "drizzle-orm/pg-core";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { ExportStatus } from "../events/export.ts";
import type { IdempotencyKey } from "../events/idempotency-key.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { exportId, type ExportRow, isExportOf } from "./exports.ts";
import { beginClaims, type DoneOnce, keyStatements, parseKept, underKey } from "./idempotency.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { exportPipelines } from "./schema.ts";
import { lockWrite, withMonth } from "./write-logs.ts";

/**
 * `changed` where the call did it; the row is undefined where the tenant has no export of this id. `ownId`: the
 * log of the change.
 */
export type ChangedExport = {
  row: ExportRow | undefined;
  changed: boolean;
  ownId: string | undefined;
};

/** Cancels an export that is not over, or failed: whoever works on it sees that at the next checkpoint. */
export async function cancelExport(
  db: Database,
  scope: TenantScope,
  id: string,
  log: NewAuditLog,
): Promise<ChangedExport> {
  return change(db, scope, id, log, ["PENDING", "IN_PROGRESS", "FAILED"], {
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
  log: NewAuditLog,
): Promise<DoneOnce<ChangedExport>> {
  if (key === undefined) {
    const changed = await change(db, scope, id, log, ["FAILED"], pendingAgain, canBeRetried);
    return { outcome: "done", isReplay: false, ...changed };
  }
  const done = await underKey(async (nonce, nonces) => {
    const { claim, isMine, keep, read } = keyStatements(db, scope, key, nonce);
    const update = db
      .update(exportPipelines)
      .set(pendingAgain)
      .where(and(isExportOf(scope, id), eq(exportPipelines.status, "FAILED"), canBeRetried, isMine))
      .returning({ id: exportPipelines.id });
    const [, , , own, kept, rows] = await withMonth(db, scope, () =>
      inTenant(db, scope, [
        lockWrite(db),
        db.execute(beginClaims),
        claim(),
        // Where it was not failed the key stands for nothing, and is free.
        db.execute(sql`
          with changed as ${update}, kept as (
            ${keep(sql`(select array_agg(id) from changed)`, sql`1`)}
          ), ${ofChanged(scope, log)}
          select id from own`),
        read(),
        db.select().from(exportPipelines).where(isExportOf(scope, id)),
      ]),
    );
    return { kept: parseKept(kept.rows[0], nonces), row: rows[0], ownId: ownIdOf(own) };
  });
  if (done === null) return { outcome: "in progress" };
  const { kept, row, ownId } = done;
  if (kept?.isSameBody === false) return { outcome: "other body" };
  const isReplay = kept?.isReplay === true;
  return { outcome: "done", isReplay, row, changed: kept !== undefined, ownId };
}

async function change(
  db: Database,
  scope: TenantScope,
  id: string,
  log: NewAuditLog,
  from: ExportStatus[],
  changes: PgUpdateSetSource<typeof exportPipelines>,
  condition?: SQL,
): Promise<ChangedExport> {
  const update = db
    .update(exportPipelines)
    .set(changes)
    .where(and(isExportOf(scope, id), inArray(exportPipelines.status, from), condition))
    .returning({ id: exportPipelines.id });
  const [, own, rows] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      lockWrite(db),
      db.execute(sql`with changed as ${update}, ${ofChanged(scope, log)} select id from own`),
      db.select().from(exportPipelines).where(isExportOf(scope, id)),
    ]),
  );
  const ownId = ownIdOf(own);
  return { row: rows[0], changed: ownId !== undefined, ownId };
}

const ofChanged = (scope: TenantScope, log: NewAuditLog): SQL =>
  storeOwnLog(scope, log, { from: sql`changed`, fields: exportId(sql`changed`) });
