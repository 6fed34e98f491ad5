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

/** Columns of an aggregate of pending_index, by which oldestAgeSeconds tells how long the oldest waits. */
export const waitingColumns = sql`
  min(log_id::text) filter (where put_back_at is null) as first_stored,
  extract(epoch from min(put_back_at)) * 1000 as first_put_back_ms,
  extract(epoch from clock_timestamp()) * 1000 as now_ms`;

export const waitingRow = z.object({
  first_stored: z.string().nullable(),
  first_put_back_ms: z.coerce.number().nullable(),
  now_ms: z.coerce.number(),
});

/** 0 where none waits. A log that a repair put back has waited since then, and not since it was stored. */
export function oldestAgeSeconds(row: z.infer<typeof waitingRow>): number {
  const { first_stored: firstStored, first_put_back_ms: putBackMs, now_ms: nowMs } = row;
  const storedMs = firstStored === null ? nowMs : idTime(firstStored);
  return Math.max(0, nowMs - Math.min(storedMs, putBackMs ?? nowMs)) / 1000;
}

const backlogRow = waitingRow.extend({ logs: z.coerce.number() });

/** Reads the whole outbox: 0.3 s for a million rows. */
export async function readBacklog(db: Database): Promise<Backlog> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      select count(*) as logs, ${waitingColumns} from pending_index`),
  ]);
  const row = backlogRow.parse(result.rows[0]);
  const seconds = Math.round(oldestAgeSeconds(row));
  return { logs: row.logs, oldestAgeSeconds: seconds, backpressure: seconds > backpressureSeconds };
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
