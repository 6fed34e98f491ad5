import { count, eq, sql } from "drizzle-orm";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { indexFailures, pendingIndex } from "./schema.ts";

export type SettledMark = {
  /** Milliseconds since 1970, exclusive: every log of the tenant stored before is in Postgres for all to see. */
  safeTime: number;
  /** The same for searches: no log stored before it waits for the index, but for the unsearchable ones. */
  indexedThrough: number;
  /** Logs that the index can never take. */
  unsearchable: number;
};

const safeTimeRow = z.object({ ms: z.coerce.number() });

/**
 * Reads the mark. safe_time() comes before the outbox is read, as a statement of its own: a write that
 * commits between the two has its rows in the outbox by then.
 */
export async function readSettledMark(db: Database, scope: TenantScope): Promise<SettledMark> {
  const [safe, oldest, failures] = await inTenant(db, scope, [
    db.execute(sql`select floor(extract(epoch from safe_time()) * 1000) as ms`),
    db
      .select({ id: pendingIndex.logId })
      .from(pendingIndex)
      .where(eq(pendingIndex.tenantId, scope.tenantId))
      .orderBy(pendingIndex.tenantId, pendingIndex.logId)
      .limit(1),
    db.select({ n: count() }).from(indexFailures).where(eq(indexFailures.tenantId, scope.tenantId)),
  ]);
  const safeTime = safeTimeRow.parse(safe.rows[0]).ms;
  const first = oldest[0];
  return {
    safeTime,
    indexedThrough: first ? Math.min(safeTime, idTime(first.id)) : safeTime,
    unsearchable: failures[0]?.n ?? 0,
  };
}
