import { sql } from "drizzle-orm";
import { z } from "zod";
import { asRole, type Database } from "./client.ts";

const overdue = z.array(z.object({ tenant_id: z.string(), id: z.string() }));

/**
 * Leases exports that no one works on though they are not over: those whose message was lost, or whose
 * exporter died. The next time is ten minutes later: two sweeps do not send one twice.
 *
 * @param limit exports at most
 * @param graceSeconds how much longer than usual an export must have waited
 */
export async function leaseOverdueExports(
  db: Database,
  limit: number,
  graceSeconds = 0,
): Promise<{ tenantId: string; id: string }[]> {
  const [result] = await asRole(db, "audit_maintenance", [
    db.execute(sql`
      with overdue as (
        select tenant_id, id from export_pipelines
        where status in ('PENDING', 'IN_PROGRESS')
          and due_at < clock_timestamp() - make_interval(secs => ${graceSeconds})
        order by due_at limit ${limit}
        for update skip locked
      )
      update export_pipelines set due_at = clock_timestamp() + interval '10 minutes'
      from overdue
      where (export_pipelines.tenant_id, export_pipelines.id) = (overdue.tenant_id, overdue.id)
      returning export_pipelines.tenant_id, export_pipelines.id`),
  ]);
  return overdue.parse(result.rows).map((row) => ({ tenantId: row.tenant_id, id: row.id }));
}
