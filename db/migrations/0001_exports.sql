-- The exporter's role. It works for one tenant at a time, so its policies ask for the tenant as the API's do.
do $$
begin
  begin
    create role audit_exporter nologin;
  exception
    when duplicate_object or unique_violation then null;
  end;
  grant audit_exporter to current_user with set true, inherit false;
  grant usage on schema public to audit_exporter;
end
$$;
--> statement-breakpoint
create table export_pipelines (
  tenant_id text not null,
  id uuid not null,
  status text not null default 'PENDING'
    check (status in ('PENDING', 'IN_PROGRESS', 'DONE', 'FAILED', 'CANCELLED')),
  format text not null check (format in ('csv', 'jsonl')),
  compression text not null check (compression in ('none', 'gzip')),
  columns json not null,
  -- What selects the logs: addresses as keyed hashes only. And the same for a person to read, masked.
  filters json not null,
  shown_filters json not null,
  requested_by text not null,
  created_at timestamptz(3) not null,
  -- Exclusive: the export covers what was stored before this id.
  upper_id uuid not null,
  started_at timestamptz(3),
  finished_at timestamptz(3),
  rows_exported bigint not null default 0,
  -- An estimate until the export is done.
  rows_total bigint,
  bytes bigint not null default 0,
  parts integer not null default 0,
  last_id uuid,
  -- An attempt has an object key of its own; a new one starts over, where S3 has lost the upload.
  attempt integer not null default 1,
  object_key text,
  upload_id text,
  -- Who holds the lease may write, as long as the fence is still its own.
  fence bigint not null default 0,
  lease_until timestamptz,
  -- Claims since the last progress.
  tries integer not null default 0,
  -- The sweep sends a message again after this time.
  due_at timestamptz not null default clock_timestamp() + interval '60 seconds',
  error_code text,
  error_message text,
  primary key (tenant_id, id)
);
--> statement-breakpoint
create index export_pipelines_due_at on export_pipelines (due_at)
  where status in ('PENDING', 'IN_PROGRESS');
--> statement-breakpoint
create table export_parts (
  tenant_id text not null,
  export_id uuid not null,
  attempt integer not null,
  part_number integer not null,
  etag text not null,
  sha256 text not null,
  rows bigint not null,
  bytes bigint not null,
  first_id uuid,
  last_id uuid,
  primary key (tenant_id, export_id, attempt, part_number)
);
--> statement-breakpoint
-- Idempotency keys of POST /logs/export: a key belongs to a tenant and a caller, for 24 hours.
create table export_keys (
  tenant_id text not null,
  sub text not null,
  key text not null,
  -- A keyed hash of the request's body.
  body_mac text not null,
  -- Says whose request holds the key.
  nonce uuid not null,
  export_id uuid not null,
  created_at timestamptz(3) not null,
  primary key (tenant_id, sub, key)
);
--> statement-breakpoint
create index export_keys_created_at on export_keys (created_at);
--> statement-breakpoint
alter table export_pipelines enable row level security;
--> statement-breakpoint
alter table export_pipelines force row level security;
--> statement-breakpoint
alter table export_parts enable row level security;
--> statement-breakpoint
alter table export_parts force row level security;
--> statement-breakpoint
alter table export_keys enable row level security;
--> statement-breakpoint
alter table export_keys force row level security;
--> statement-breakpoint
-- Exports are not for the `user` role, whose wall is set: it sees none.
create policy api_read on export_pipelines for select to audit_api
  using (tenant_id = app_tenant() and app_user_wall() is null);
--> statement-breakpoint
create policy api_write on export_pipelines for insert to audit_api
  with check (tenant_id = app_tenant() and app_user_wall() is null);
--> statement-breakpoint
create policy api_change on export_pipelines for update to audit_api
  using (tenant_id = app_tenant() and app_user_wall() is null)
  with check (tenant_id = app_tenant() and app_user_wall() is null);
--> statement-breakpoint
create policy api_all on export_keys for all to audit_api
  using (tenant_id = app_tenant() and app_user_wall() is null)
  with check (tenant_id = app_tenant() and app_user_wall() is null);
--> statement-breakpoint
create policy exporter_all on export_pipelines for all to audit_exporter
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy exporter_all on export_parts for all to audit_exporter
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy exporter_read on audit_logs for select to audit_exporter using (tenant_id = app_tenant());
--> statement-breakpoint
create policy exporter_read on pending_index for select to audit_exporter using (tenant_id = app_tenant());
--> statement-breakpoint
create policy maintenance_all on export_pipelines for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on export_keys for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
grant select, insert on export_pipelines to audit_api;
--> statement-breakpoint
-- What cancel and retry set, and nothing of what an export covers.
grant update (status, finished_at, tries, due_at, error_code, error_message) on export_pipelines to audit_api;
--> statement-breakpoint
grant select, insert, update on export_keys to audit_api;
--> statement-breakpoint
grant select, update on export_pipelines to audit_exporter;
--> statement-breakpoint
grant select, insert on export_parts to audit_exporter;
--> statement-breakpoint
grant select on audit_logs, pending_index to audit_exporter;
--> statement-breakpoint
grant select, update (due_at) on export_pipelines to audit_maintenance;
--> statement-breakpoint
grant select, delete on export_keys to audit_maintenance;
