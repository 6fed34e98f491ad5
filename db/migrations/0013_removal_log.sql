-- What a removal has come to, until that is recorded as a log of the tenant: see ADR 18.
alter table retention_runs
  -- Logs that were removed since the last record, and the latest time before which they were stored.
  add column removed bigint not null default 0,
  add column removed_before timestamptz(3),
  -- The log that it was asked for by: the record names whom that names. Null of the daily run.
  add column asked_log json;
--> statement-breakpoint
-- That is a log of the tenant, if a short one: the API's role reads it, and no other.
revoke select on retention_runs from audit_retention, audit_maintenance, audit_operator;
--> statement-breakpoint
grant select (tenant_id, cutoff, fallback_days, position, due_at, removed, removed_before)
  on retention_runs to audit_retention;
--> statement-breakpoint
grant select (tenant_id, cutoff, fallback_days, position, due_at) on retention_runs
  to audit_maintenance, audit_operator;
