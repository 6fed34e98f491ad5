import { sql } from "drizzle-orm";
import { z } from "zod";
import { rowsOf } from "./database.ts";

const own = z.array(
  z.looseObject({
    id: z.string(),
    action: z.string(),
    metadata: z.record(z.string(), z.unknown()),
  }),
);

/** The tenant's own logs, in the order that they were stored. */
export async function ownLogs(tenant: string) {
  const rows = await rowsOf(sql`
    select id, action, user_id, actor_type, ip_address, user_agent, request_id, resource_type, resource_id,
      resource_name, recorded_by, outcome, metadata, before_state, after_state, masked_fields
    from audit_logs where tenant_id = ${tenant} and action like 'audit\_log.%' order by id`);
  return own.parse(rows);
}
