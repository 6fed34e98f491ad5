import { sql } from "drizzle-orm";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import { asRole, type Database } from "./client.ts";

/** What waits to become searchable, of all tenants. */
export type Backlog = {
  logs: number;
  /** Of the oldest that waits, by the database's clock; 0 where none does. */
  oldestAgeSeconds: number;
  /** Whether the oldest waits for longer than it ever should. Logs are taken all the same. */
  backpressure: boolean;
};

/** Where the oldest log waits for longer, the index does not keep up with what is written. */
export const backpressureSeconds = 600;

const backlogRow = z.object({
  logs: z.coerce.number(),
  oldest: z.string().nullable(),
  now_ms: z.coerce.number(),
});

/** Reads the whole outbox: 0.3 s for a million rows. */
export async function readBacklog(db: Database): Promise<Backlog> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select count(*) as logs, min(log_id::text) as oldest,
             extract(epoch from clock_timestamp()) * 1000 as now_ms
      from pending_index`),
  ]);
  const { logs, oldest, now_ms: now } = backlogRow.parse(result.rows[0]);
  const ageMs = oldest === null ? 0 : Math.max(0, now - idTime(oldest));
  const oldestAgeSeconds = Math.round(ageMs / 1000);
  return { logs, oldestAgeSeconds, backpressure: oldestAgeSeconds > backpressureSeconds };
}

const changed = z.array(z.object({ lasted: z.coerce.number() }));

/**
 * Keeps whether there is backpressure, so that its beginning and its end are each told once, whoever
 * looks. It ends when the oldest log waits for less than half of the limit: it must not come and go.
 *
 * @returns what began or ended at this call, and how many seconds the state before had lasted
 */
export async function recordBackpressure(
  db: Database,
  { oldestAgeSeconds, backpressure }: Backlog,
): Promise<{ event: "began" | "ended"; afterSeconds: number } | undefined> {
  if (!backpressure && oldestAgeSeconds > backpressureSeconds / 2) return undefined;
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      with before as (select since from backpressure for update)
      update backpressure set is_on = ${backpressure}, since = clock_timestamp()
      from before
      where is_on <> ${backpressure}
      returning extract(epoch from clock_timestamp() - before.since) as lasted`),
  ]);
  const [row] = changed.parse(result.rows);
  return row && { event: backpressure ? "began" : "ended", afterSeconds: Math.round(row.lasted) };
}
