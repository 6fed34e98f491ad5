import { sql } from "drizzle-orm";
import { asRole, type Database } from "./client.ts";

/**
 * Does a job, unless another holds its lease: a cron may begin it while the last run is not over.
 *
 * @param seconds the lease ends by itself after this: longer than the job ever takes
 * @returns whether it was done
 */
export async function underLease(
  db: Database,
  name: string,
  seconds: number,
  work: () => Promise<void>,
): Promise<boolean> {
  const holder = crypto.randomUUID();
  const [taken] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      insert into job_leases (name, lease_until, holder)
      values (${name}, clock_timestamp() + make_interval(secs => ${seconds}), ${holder})
      on conflict (name) do update set lease_until = excluded.lease_until, holder = excluded.holder
      where job_leases.lease_until < clock_timestamp()
      returning name`),
  ]);
  if (taken.rows.length === 0) return false;
  try {
    await work();
  } finally {
    await asRole(db, "audit_maintenance", [
      db.execute(sql`
        update job_leases set lease_until = clock_timestamp()
        where name = ${name} and holder = ${holder}`),
    ]);
  }
  return true;
}
