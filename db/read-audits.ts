import { sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import { isRecorded, type ReadAuditLevel, readAuditLevels } from "../events/read-audit.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { clockMs, ownIdOf, storeOwnLog } from "./own-logs.ts";
import { beginWrite, withMonth } from "./write-logs.ts";

/** The same read by the same caller is recorded once in this time. */
export const mergeMs = 60_000;

/** How long one waits for another that records the same read, in the database. */
const waitMs = 3_000;

export type ReadToRecord = {
  log: NewAuditLog;
  /** A keyed hash of who read what. */
  mac: string;
  /** The least level at which it is recorded. */
  from: ReadAuditLevel;
  /** The level of a tenant that has chosen none. */
  defaultLevel: ReadAuditLevel;
};

const leftRow = z.object({ ms: z.coerce.number() });

/**
 * Stores the log of a read, unless the same was recorded within the last minute or the tenant does not want
 * it. Of those that ask at once, wherever they are, one stores: the others wait for it at the row of the MAC.
 * May be repeated: what was committed without an answer is not stored again.
 *
 * @returns the log's id where it was stored; and in how many milliseconds the same read is recorded again,
 *   undefined where the tenant does not want it
 */
export async function recordRead(
  db: Database,
  { tenantId, admission }: TenantScope,
  { log, mac, from, defaultLevel }: ReadToRecord,
): Promise<{ id: string | undefined; leftMs: number | undefined }> {
  // The log is the service's, also of one who may write nothing.
  const scope = { tenantId, userId: null, ...(admission ? { admission } : {}) };
  const levels = readAuditLevels.filter((level) => isRecorded(from, level));
  const merge = sql`make_interval(secs => ${mergeMs / 1000})`;
  const isMac = sql`(tenant_id, read_mac) = (${tenantId}, ${mac})`;
  const [, , , own, left] = await withMonth(db, scope, () =>
    inTenant(db, scope, [
      ...beginWrite(db, scope),
      db.execute(sql`select set_config('lock_timeout', ${String(waitMs)}, true)`),
      db.execute(sql`
        with claimed as (
          insert into read_audits (tenant_id, read_mac, created_at)
          select id, ${mac}, ${clockMs} from tenants
          where id = ${tenantId} and coalesce(read_audit, ${defaultLevel}) = any(${sql.param(levels)})
          on conflict (tenant_id, read_mac) do update set created_at = excluded.created_at
          where read_audits.created_at <= excluded.created_at - ${merge}
          returning read_mac
        ), ${storeOwnLog(scope, log, { from: sql`claimed` })}
        select id from own`),
      db.execute(sql`
        select extract(epoch from created_at + ${merge} - clock_timestamp()) * 1000 as ms
        from read_audits where ${isMac}`),
    ]),
  );
  return { id: ownIdOf(own), leftMs: left.rows[0] && leftRow.parse(left.rows[0]).ms };
}
