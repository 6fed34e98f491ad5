import { sql } from "drizzle-orm";
import { asRole, type Database } from "./client.ts";

/** Rows that are removed at once: no transaction is long, and no writer waits for one. */
const chunk = 5_000;

/** What is removed, and when: an hour after no request asks for it any more. */
const kept = {
  idempotency_keys: "25 hours",
  event_ids: "7 days 1 hour",
  read_audits: "1 hour",
} as const;

/**
 * Removes idempotency keys, event ids and notes of recorded reads that have had their time, oldest first, and passes over what a
 * request holds just now.
 *
 * @param until when to stop, in milliseconds since 1970: what is left is removed by the next run
 * @returns how many rows were removed
 */
export async function removeOldKeys(db: Database, until: number): Promise<number> {
  let removed = 0;
  for (const [table, age] of Object.entries(kept)) {
    for (let last = chunk; last === chunk && Date.now() < until; removed += last) {
      const [result] = await asRole(db, "audit_maintenance", [
        db.execute(sql`
          delete from ${sql.identifier(table)} where ctid = any(array(
            select ctid from ${sql.identifier(table)}
            where created_at < clock_timestamp() - ${age}::interval
            order by created_at limit ${chunk}
            for update skip locked
          ))`),
      ]);
      last = result.rowCount;
    }
  }
  return removed;
}
