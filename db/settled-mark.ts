import { count, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import { type ReadAuditLevel, readAuditLevels } from "../events/read-audit.ts";
import type { Admission, TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant, walPosition, type WalPosition } from "./client.ts";
import { auditLogs, indexFailures, pendingIndex } from "./schema.ts";

export type SettledMark = {
  /** Milliseconds since 1970, exclusive: every log of the tenant stored before is in Postgres for all to see. */
  safeTime: number;
  /** The same for searches: no log stored before it waits for the index or is lost there, but for the unsearchable ones. */
  indexedThrough: number;
  /** Logs that the index can never take. */
  unsearchable: number;
  /** Milliseconds since 1970: the tenant's first log. 0 where it has none. */
  oldest: number;
  /** What a read replica must have replayed to show every log stored before safeTime. */
  walPosition: WalPosition;
  /** Which of its reads the tenant has recorded; null where it has chosen none. */
  readAudit: ReadAuditLevel | null;
};

const safeTimeRow = z.object({ ms: z.coerce.number() });
const gapRow = z.object({ ms: z.coerce.number().nullable() });
const positionRow = z.object({
  position: z.string(),
  read_audit: z.enum(readAuditLevels).nullable(),
});

/**
 * Reads the mark. safe_time() comes before the outbox is read, as a statement of its own: a write that
 * commits between the two has its rows in the outbox by then. The place in the log is read after it too.
 */
export async function readSettledMark(
  db: Database,
  tenantId: string,
  admission?: Admission,
): Promise<SettledMark> {
  // The mark is the tenant's, whoever of it asks.
  const scope: TenantScope = { tenantId, userId: null, ...(admission ? { admission } : {}) };
  const [safe, gaps, position, pending, failures, logs] = await inTenant(db, scope, [
    db.execute(sql`select floor(extract(epoch from safe_time()) * 1000) as ms`),
    // The policy shows only what holds back this tenant's mark. Before the outbox: a repair puts logs there
    // first, and then says that they are not lost any more.
    db.execute(sql`select min(slice_from) as ms from reconcile_progress`),
    db.execute(sql`
      select ${walPosition} as position,
        (select read_audit from tenants where id = ${tenantId}) as read_audit`),
    db
      .select({ id: pendingIndex.logId })
      .from(pendingIndex)
      .where(eq(pendingIndex.tenantId, scope.tenantId))
      .orderBy(pendingIndex.tenantId, pendingIndex.logId)
      .limit(1),
    db.select({ n: count() }).from(indexFailures).where(eq(indexFailures.tenantId, scope.tenantId)),
    db
      .select({ id: auditLogs.id })
      .from(auditLogs)
      .where(eq(auditLogs.tenant_id, scope.tenantId))
      .orderBy(auditLogs.id)
      .limit(1),
  ]);
  const safeTime = safeTimeRow.parse(safe.rows[0]).ms;
  const [firstPending, firstLog] = [pending[0], logs[0]];
  const { position: replayedTo, read_audit: readAudit } = positionRow.parse(position.rows[0]);
  const lostFrom = gapRow.parse(gaps.rows[0]).ms ?? safeTime;
  return {
    safeTime,
    indexedThrough: Math.min(safeTime, lostFrom, firstPending ? idTime(firstPending.id) : safeTime),
    unsearchable: failures[0]?.n ?? 0,
    oldest: firstLog ? idTime(firstLog.id) : 0,
    walPosition: replayedTo,
    readAudit,
  };
}
