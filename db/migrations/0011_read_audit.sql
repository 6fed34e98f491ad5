-- Which of its reads a tenant has recorded; null: the deployment's default.
alter table tenants add column read_audit text check (read_audit in ('changes', 'searches', 'all'));
--> statement-breakpoint
grant update (read_audit) on tenants to audit_api, audit_operator;
--> statement-breakpoint
grant insert (read_audit) on tenants to audit_operator;
--> statement-breakpoint
-- When a read was last recorded: the same by the same caller is recorded once a minute.
create table read_audits (
  tenant_id text not null,
  -- A keyed hash of who read what.
  read_mac text not null,
  created_at timestamptz(3) not null,
  primary key (tenant_id, read_mac)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
create index read_audits_created_at on read_audits (created_at);
--> statement-breakpoint
alter table read_audits enable row level security;
--> statement-breakpoint
alter table read_audits force row level security;
--> statement-breakpoint
create policy api_all on read_audits for all to audit_api
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy maintenance_all on read_audits for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
grant select, insert, update (created_at) on read_audits to audit_api;
--> statement-breakpoint
-- No row of these is changed: `for update skip locked` asks for it.
grant select, delete, update (created_at) on read_audits to audit_maintenance;
--> statement-breakpoint
-- What a platform admin does to a tenant is recorded in that tenant. The role writes such logs and no others,
-- and still sees none.
create policy operator_own_events on audit_logs for insert to audit_operator
  with check (starts_with(action, 'audit_log.'));
--> statement-breakpoint
grant insert on audit_logs to audit_operator;
