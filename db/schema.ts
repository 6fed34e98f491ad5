import { z } from "zod";
import {
  exportColumn,
  exportCompressions,
  exportFormats,
  exportStatuses,
  exportTail,
  shownFilters,
  storedFilter,
} from "../events/export.ts";
import { masking } from "../events/masking.ts";
import { readAuditLevels } from "../events/read-audit.ts";
import {
  bigint,
  boolean,
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

/** `json` of the service's own making: parsed when it is read. */
const parsedJson = <T>(name: string, schema: z.ZodType<T>) =>
  customType<{ data: T; driverData: unknown }>({
    dataType: () => "json",
    toDriver: (value) => JSON.stringify(value),
    fromDriver: (value) => schema.parse(typeof value === "string" ? JSON.parse(value) : value),
  })(name);

const at = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: "date" });
const storedAt = (name: string) =>
  timestamp(name, { withTimezone: true, precision: 3, mode: "date" }).notNull();

export const tenants = pgTable("tenants", {
  id: text("id").primaryKey(),
  createdAt: storedAt("created_at"),
  name: text("name"),
  status: text("status", { enum: ["active", "suspended"] }).notNull(),
  tokensNotBefore: at("tokens_not_before"),
  readAudit: text("read_audit", { enum: readAuditLevels }),
  masking: parsedJson("masking", masking),
  settingsVersion: integer("settings_version").notNull(),
  rateTier: text("rate_tier").notNull().default("standard"),
  /** What was set last; what held before and until when, while that is longer: see kept_days(). */
  retentionDays: integer("retention_days"),
  retentionDaysBefore: integer("retention_days_before"),
  retentionTakesEffectAt: at("retention_takes_effect_at"),
  legalHold: boolean("legal_hold").notNull(),
});

/** Without the hash, which no query reads: find_api_key() compares with it. */
export const apiKeys = pgTable("api_keys", {
  id: uuid("id").primaryKey(),
  tenantId: text("tenant_id").notNull(),
  name: text("name").notNull(),
  roles: text("roles", { enum: ["admin", "auditor", "writer"] })
    .array()
    .notNull(),
  createdAt: storedAt("created_at"),
  createdBy: text("created_by").notNull(),
  expiresAt: at("expires_at"),
  lastUsedAt: at("last_used_at"),
  revokedAt: at("revoked_at"),
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
    /** Whether the log has not left the outbox before. */
    isFirst: boolean("is_first").notNull().default(false),
    /** When a repair or a redrive put it here; null where it waits since it was stored. */
    putBackAt: timestamp("put_back_at", { withTimezone: true, mode: "date" }),
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

/** An export: what it covers, how far it is, and who may work on it. */
export const exportPipelines = pgTable(
  "export_pipelines",
  {
    tenantId: text("tenant_id").notNull(),
    id: uuid("id").notNull(),
    status: text("status", { enum: exportStatuses }).notNull(),
    format: text("format", { enum: exportFormats }).notNull(),
    compression: text("compression", { enum: exportCompressions }).notNull(),
    columns: parsedJson("columns", z.array(exportColumn)).notNull(),
    filters: parsedJson("filters", storedFilter).notNull(),
    shownFilters: parsedJson("shown_filters", shownFilters).notNull(),
    requestedBy: text("requested_by").notNull(),
    createdAt: storedAt("created_at"),
    upperId: uuid("upper_id").notNull(),
    startedAt: at("started_at"),
    finishedAt: at("finished_at"),
    rowsExported: bigint("rows_exported", { mode: "number" }).notNull(),
    rowsTotal: bigint("rows_total", { mode: "number" }),
    bytes: bigint("bytes", { mode: "number" }).notNull(),
    parts: integer("parts").notNull(),
    lastId: uuid("last_id"),
    scannedTo: uuid("scanned_to"),
    tail: parsedJson("tail", exportTail),
    attempt: integer("attempt").notNull(),
    objectKey: text("object_key"),
    uploadId: text("upload_id"),
    fence: bigint("fence", { mode: "number" }).notNull(),
    leaseUntil: at("lease_until"),
    tries: integer("tries").notNull(),
    dueAt: at("due_at").notNull(),
    errorCode: text("error_code"),
    errorMessage: text("error_message"),
  },
  (table) => [primaryKey({ columns: [table.tenantId, table.id] })],
);

/** A part that S3 has: the checkpoint of an export is the last of them. */
export const exportParts = pgTable(
  "export_parts",
  {
    tenantId: text("tenant_id").notNull(),
    exportId: uuid("export_id").notNull(),
    attempt: integer("attempt").notNull(),
    number: integer("part_number").notNull(),
    etag: text("etag").notNull(),
    sha256: text("sha256").notNull(),
    rows: bigint("rows", { mode: "number" }).notNull(),
    bytes: bigint("bytes", { mode: "number" }).notNull(),
    firstId: uuid("first_id"),
    lastId: uuid("last_id"),
  },
  (table) => [
    primaryKey({ columns: [table.tenantId, table.exportId, table.attempt, table.number] }),
  ],
);

/** Messages that could not be processed, and why. */
export const deadLetters = pgTable("dead_letters", {
  id: uuid("id").primaryKey(),
  seq: bigint("seq", { mode: "number" }).notNull(),
  queue: text("queue", { enum: ["log", "export"] }).notNull(),
  messageId: text("message_id").notNull(),
  body: text("body").notNull(),
  reason: text("reason").notNull(),
  tenantId: text("tenant_id"),
  logIds: uuid("log_ids").array().notNull(),
  exportId: uuid("export_id"),
  requestId: text("request_id"),
  firstFailedAt: storedAt("first_failed_at"),
  lastFailedAt: storedAt("last_failed_at"),
  failures: integer("failures").notNull(),
  receiveCount: integer("receive_count").notNull(),
  redrivenAt: at("redriven_at"),
});
