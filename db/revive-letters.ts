import { inArray, sql } from "drizzle-orm";
import type { NewAuditLog } from "../events/audit-log.ts";
import { asRole, type Database } from "./client.ts";
import type { OutboxKey } from "./outbox.ts";
import { ownIdOf, storeOwnLog } from "./own-logs.ts";
import { deadLetters } from "./schema.ts";
import { lockWrite, withMonth } from "./write-logs.ts";

/** A log of a tenant that says that these of its dead letters were redriven. */
export type RedriveRecord = { tenantId: string; ids: readonly string[]; log: NewAuditLog };

/**
 * Makes the work of dead letters possible again, and marks them as redriven, in one transaction: logs that
 * the index refused go back into the outbox, and failed exports are pending at their checkpoint. From here
 * on the sweeps would send the work, were the messages not sent.
 *
 * @param records what is stored of it; letters that none of them has are redriven all the same
 * @returns the logs that were stored: none of a letter that was redriven meanwhile
 */
export async function reviveLetters(
  db: Database,
  ids: readonly string[],
  records: readonly RedriveRecord[],
): Promise<OutboxKey[]> {
  const wanted = sql`${sql.param([...ids])}::uuid[]`;
  const recorded = new Set(records.flatMap((record) => record.ids));
  const unrecorded = ids.filter((id) => !recorded.has(id));
  const revive = [
    lockWrite(db),
    db.execute(sql`
      with wanted as (
        select distinct tenant_id, unnest(log_ids) as log_id from dead_letters where id = any(${wanted})
      ), gone as (
        delete from index_failures using wanted
        where (index_failures.tenant_id, index_failures.log_id) = (wanted.tenant_id, wanted.log_id)
        returning index_failures.tenant_id, index_failures.log_id
      )
      insert into pending_index (tenant_id, log_id, put_back_at)
      select tenant_id, log_id, clock_timestamp() from gone
      on conflict (tenant_id, log_id) do nothing`),
    db.execute(sql`
      update export_pipelines
      set status = 'PENDING', finished_at = null, tries = 0, error_code = null, error_message = null,
          due_at = clock_timestamp() + interval '60 seconds'
      from dead_letters
      where dead_letters.id = any(${wanted}) and export_pipelines.status = 'FAILED'
        -- Later, retention may have removed what it covers.
        and finished_at > clock_timestamp() - interval '7 days'
        and (export_pipelines.tenant_id, export_pipelines.id) = (dead_letters.tenant_id, dead_letters.export_id)`),
    closeStatement(db, unrecorded),
  ] as const;
  const scope = { tenantId: records[0]?.tenantId ?? "", userId: null };
  const results = await withMonth(db, scope, () =>
    asRole(db, "audit_operator", [
      ...revive,
      ...records.map((record) => closeAndRecord(db, record)),
    ]),
  );
  return results.slice(revive.length).flatMap((own, n) => {
    const [logId, tenantId] = [ownIdOf(own), records[n]?.tenantId];
    return logId === undefined || tenantId === undefined ? [] : { tenantId, logId };
  });
}

/** Marks dead letters as redriven that name no work: there is nothing to make possible. */
export const closeLetters = (db: Database, ids: readonly string[]) =>
  asRole(db, "audit_operator", [closeStatement(db, ids)]);

/** SQS did not take their messages: they are dead still. */
export const reopenLetters = (db: Database, ids: readonly string[]) =>
  asRole(db, "audit_operator", [
    db
      .update(deadLetters)
      .set({ redrivenAt: null })
      .where(inArray(deadLetters.id, [...ids])),
  ]);

const closeStatement = (db: Database, ids: readonly string[]) =>
  db
    .update(deadLetters)
    .set({ redrivenAt: sql`clock_timestamp()` })
    .where(inArray(deadLetters.id, [...ids]));

/** Marks a record's letters as redriven, and stores its log where one of them was not. */
function closeAndRecord(db: Database, { tenantId, ids, log }: RedriveRecord) {
  const fields = sql`jsonb_build_object('metadata', jsonb_strip_nulls(jsonb_build_object(
    'queue', counted.queue, 'logs', counted.logs
  ))::text)`;
  return db.execute(sql`
    with closed as (
      update dead_letters set redriven_at = clock_timestamp()
      where id = any(${sql.param([...ids])}::uuid[]) and redriven_at is null
      returning queue, cardinality(log_ids) as logs
    ), counted as (
      select min(queue) as queue, nullif(sum(logs), 0) as logs from closed having count(*) > 0
    ), ${storeOwnLog({ tenantId, userId: null }, log, { from: sql`counted`, fields })}
    select id from own`);
}
