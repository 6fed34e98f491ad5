import { type SQL, sql } from "drizzle-orm";
import { connectDatabase } from "../../db/client.ts";
import { workerEnv } from "./tools.ts";

/** A connection as the owner, who is above every policy. */
export function ownerOf(url = workerEnv["DATABASE_URL"] ?? "") {
  return connectDatabase({ url, fetchEndpoint: workerEnv["NEON_FETCH_ENDPOINT"] });
}

export async function rowsOf(query: SQL, url?: string): Promise<Record<string, unknown>[]> {
  return (await ownerOf(url).execute(query)).rows;
}

/** Makes the month of a time, where there is none: only the owner can. */
export async function makeMonth(at: Date): Promise<void> {
  const month = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), 1));
  const next = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1, 1));
  const name = `audit_logs_${month.toISOString().slice(0, 7).replace("-", "_")}`;
  const ids = await rowsOf(sql`
    select first_id_at(${month.toISOString()}::timestamptz) as first,
      first_id_at(${next.toISOString()}::timestamptz) as next,
      to_regclass(${name}) is null as is_missing`);
  if (ids[0]?.["is_missing"] !== true) return;
  await rowsOf(
    sql.raw(
      `create table ${name} partition of audit_logs for values from ('${String(ids[0]["first"])}') to ('${String(ids[0]["next"])}')`,
    ),
  );
}

/** Takes what a test has put into the outbox to wait for a day out of it: health and metrics would find it old. */
export async function forgetWaiting(): Promise<void> {
  await rowsOf(sql`delete from pending_index where due_at > now() + interval '12 hours'`);
}
