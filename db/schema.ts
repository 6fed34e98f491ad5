import {
  customType,
  integer,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from "drizzle-orm/pg-core";

/**
 * The tables of migrations/, for queries. Migrations are written by hand: partitions, policies and roles
 * are more than a schema generator can say.
 */

/** `json` holds the text as it was sent; it is read with ::text and never parsed on the way. */
const jsonText = customType<{ data: string; driverData: string }>({ dataType: () => "json" });

const storedAt = (name: string) =>
  timestamp(name, { withTimezone: true, precision: 3, mode: "date" }).notNull();

export const tenants = pgTable("tenants", {
  id: text("id").primaryKey(),
  createdAt: storedAt("created_at"),
});

export const auditLogs = pgTable(
  "audit_logs",
  {
    id: uuid("id").notNull(),
    tenant_id: text("tenant_id").notNull(),
    created_at: storedAt("created_at"),
    occurred_at: storedAt("occurred_at"),
    recorded_by: text("recorded_by").notNull(),
    action: text("action").notNull(),
    severity: text("severity", {
      enum: ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    }).notNull(),
    outcome: text("outcome"),
    actor_type: text("actor_type").notNull(),
    actor_name: text("actor_name"),
    user_id: text("user_id"),
    email: text("email"),
    email_hash: text("email_hash"),
    session_id: text("session_id"),
    request_id: text("request_id"),
    ip_address: text("ip_address"),
    user_agent: text("user_agent"),
    resource_type: text("resource_type").notNull(),
    resource_id: text("resource_id").notNull(),
    resource_name: text("resource_name"),
    description: text("description"),
    metadata: jsonText("metadata"),
    before_state: jsonText("before_state"),
    after_state: jsonText("after_state"),
    targets: jsonText("targets"),
    event_id: text("event_id"),
    truncated_fields: jsonText("truncated_fields"),
    masked_fields: jsonText("masked_fields"),
  },
  (table) => [primaryKey({ columns: [table.tenant_id, table.id] })],
);

/** The outbox: a row stays until its log is searchable. */
export const pendingIndex = pgTable(
  "pending_index",
  {
    tenantId: text("tenant_id").notNull(),
    logId: uuid("log_id").notNull(),
    rev: integer("rev").notNull().default(1),
    attempts: integer("attempts").notNull().default(0),
    dueAt: timestamp("due_at", { withTimezone: true, mode: "date" }).notNull(),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.logId] })],
);

/** Logs that OpenSearch can never take, and why. */
export const indexFailures = pgTable(
  "index_failures",
  {
    tenantId: text("tenant_id").notNull(),
    logId: uuid("log_id").notNull(),
    reason: text("reason").notNull(),
    failedAt: storedAt("failed_at"),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.logId] })],
);
