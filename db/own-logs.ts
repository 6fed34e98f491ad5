import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import type { NewAuditLog } from "../events/audit-log.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { insertInto, sentColumns } from "./write-logs.ts";

export const clockMs = sql`date_trunc('milliseconds', clock_timestamp())`;

type Happened = {
  /** What is stored a log of, one for each row: a part of the same `with`. */
  from: SQL;
  /** Fields of the log that only the database knows, by `from`, as jsonb. */
  fields?: SQL;
  /** When it is stored, in whole milliseconds. */
  at?: SQL;
};

/**
 * Parts of a `with` that store a log of the service's own and its outbox row, in the transaction of what it
 * tells of; `select id from own` names it. They read nothing of audit_logs: the operator's role may not.
 * lock_write() comes first in the batch, as in every one that writes logs.
 */
export const storeOwnLog = (
  scope: TenantScope,
  log: NewAuditLog,
  { from, fields = sql`'{}'::jsonb`, at = clockMs }: Happened,
): SQL => sql`
  own_stamp as materialized (
    select ${at} as at
  ), own as materialized (
    select audit_log_id(own_stamp.at, 0) as id, own_stamp.at, sent.*
    from own_stamp cross join ${from}
    cross join jsonb_to_record(${JSON.stringify({ n: 0, ...log })}::jsonb || ${fields}) as sent (${sentColumns})
  ), own_stored as (
    ${insertInto(scope, sql`sent.id`, sql`sent.at`, sql`own as sent`)}
  ), own_outbox as (
    insert into pending_index (tenant_id, log_id, is_first) select ${scope.tenantId}, id, true from own
  )`;

/** The id of what `select id from own` names; undefined where nothing was stored. */
export function ownIdOf(result: { rows: Record<string, unknown>[] }): string | undefined {
  return z.uuid().optional().parse(result.rows[0]?.["id"]);
}
