import { and, eq, sql } from "drizzle-orm";
import type { AuditLog } from "../events/audit-log.ts";
import type { ReadAuditLevel } from "../events/read-audit.ts";
import type { TenantScope } from "../events/tenant-scope.ts";
import { type Database, inTenant } from "./client.ts";
import { auditLogs, tenants } from "./schema.ts";

/** JSON columns as their text: never parsed between the sender and the reader. */
const asText = <Name extends string>(column: Name) =>
  sql<string | null>`${sql.identifier("audit_logs")}.${sql.identifier(column)}::text`;

/** What a query selects to make an AuditLog of each row. */
export const logColumns = {
  id: auditLogs.id,
  tenant_id: auditLogs.tenant_id,
  created_at: auditLogs.created_at,
  occurred_at: auditLogs.occurred_at,
  recorded_by: auditLogs.recorded_by,
  action: auditLogs.action,
  severity: auditLogs.severity,
  outcome: auditLogs.outcome,
  actor_type: auditLogs.actor_type,
  actor_name: auditLogs.actor_name,
  user_id: auditLogs.user_id,
  email: auditLogs.email,
  session_id: auditLogs.session_id,
  request_id: auditLogs.request_id,
  ip_address: auditLogs.ip_address,
  user_agent: auditLogs.user_agent,
  resource_type: auditLogs.resource_type,
  resource_id: auditLogs.resource_id,
  resource_name: auditLogs.resource_name,
  description: auditLogs.description,
  event_id: auditLogs.event_id,
  metadata: asText("metadata"),
  before_state: asText("before_state"),
  after_state: asText("after_state"),
  targets: asText("targets"),
  truncated_fields: asText("truncated_fields"),
  masked_fields: asText("masked_fields"),
};

type LogRow = Omit<AuditLog, "created_at" | "occurred_at"> & {
  created_at: Date;
  occurred_at: Date;
};

/** A selected row as an AuditLog: its times as text. */
export function logOfRow<Row extends LogRow>(
  row: Row,
): Omit<Row, "created_at" | "occurred_at"> & AuditLog {
  return {
    ...row,
    created_at: row.created_at.toISOString(),
    occurred_at: row.occurred_at.toISOString(),
  };
}

export type ReadLog = { log: AuditLog; readAudit: ReadAuditLevel | null };

/**
 * One log, and whether its tenant has its reads recorded; or undefined where the caller's tenant (and for the
 * `user` role, the caller) has none of this id.
 */
export async function readLog(
  db: Database,
  scope: TenantScope,
  id: string,
): Promise<ReadLog | undefined> {
  const query = db
    .select({ ...logColumns, readAudit: tenants.readAudit })
    .from(auditLogs)
    .leftJoin(tenants, eq(tenants.id, auditLogs.tenant_id))
    .where(and(eq(auditLogs.tenant_id, scope.tenantId), eq(auditLogs.id, id)));
  const [rows] = await inTenant(db, scope, [query]);
  if (!rows[0]) return undefined;
  const { readAudit, ...row } = rows[0];
  return { log: logOfRow(row), readAudit };
}
