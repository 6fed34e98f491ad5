-- The role of the operations endpoints and of metrics: it works on what failed and counts what there is,
-- and has no way to a log.
do $$
begin
  begin
    create role audit_operator nologin;
  exception
    when duplicate_object or unique_violation then null;
  end;
  grant audit_operator to current_user with set true, inherit false;
  grant usage on schema public to audit_operator;
end
$$;
--> statement-breakpoint
-- Messages that could not be processed, and why: the reason outlives the message.
create table dead_letters (
  -- A digest of queue and body: the same message that fails again is the same dead letter.
  id uuid primary key,
  -- The order in which they were found.
  seq bigint generated always as identity,
  queue text not null check (queue in ('log', 'export')),
  message_id text not null,
  body text not null,
  reason text not null,
  -- What the body names; null and empty where it is no message of this service.
  tenant_id text,
  log_ids uuid[] not null default '{}',
  export_id uuid,
  request_id text,
  first_failed_at timestamptz(3) not null default clock_timestamp(),
  last_failed_at timestamptz(3) not null default clock_timestamp(),
  failures integer not null default 1,
  receive_count integer not null,
  -- Null while it is dead.
  redriven_at timestamptz(3)
);
--> statement-breakpoint
create index dead_letters_open on dead_letters (seq) where redriven_at is null;
--> statement-breakpoint
-- Counters of the whole deployment. `part` is who adds: no two writers wait for each other at a row.
create table service_counters (
  name text not null,
  part text not null,
  value bigint not null,
  primary key (name, part)
);
--> statement-breakpoint
-- True from the write that stored the log: then it is counted as stored when it leaves the outbox. What
-- puts a log back need not know of it.
alter table pending_index add column is_first boolean not null default false;
--> statement-breakpoint
create index export_pipelines_status on export_pipelines (status);
--> statement-breakpoint
alter table dead_letters enable row level security;
--> statement-breakpoint
alter table dead_letters force row level security;
--> statement-breakpoint
alter table service_counters enable row level security;
--> statement-breakpoint
alter table service_counters force row level security;
--> statement-breakpoint
create policy indexer_own on dead_letters for all to audit_indexer
  using (queue = 'log') with check (queue = 'log');
--> statement-breakpoint
create policy exporter_own on dead_letters for all to audit_exporter
  using (queue = 'export') with check (queue = 'export');
--> statement-breakpoint
create policy operator_all on dead_letters for all to audit_operator using (true) with check (true);
--> statement-breakpoint
create policy api_own on service_counters for all to audit_api
  using (name = 'degraded_searches') with check (name = 'degraded_searches');
--> statement-breakpoint
create policy indexer_own on service_counters for all to audit_indexer
  using (name in ('logs_stored', 'logs_indexed')) with check (name in ('logs_stored', 'logs_indexed'));
--> statement-breakpoint
create policy exporter_own on service_counters for all to audit_exporter
  using (name in ('export_rows', 'export_bytes')) with check (name in ('export_rows', 'export_bytes'));
--> statement-breakpoint
create policy maintenance_own on service_counters for all to audit_maintenance
  using (name = 'repairs') with check (name = 'repairs');
--> statement-breakpoint
create policy operator_read on service_counters for select to audit_operator using (true);
--> statement-breakpoint
create policy operator_all on pending_index for all to audit_operator using (true) with check (true);
--> statement-breakpoint
create policy operator_all on index_failures for all to audit_operator using (true) with check (true);
--> statement-breakpoint
create policy operator_all on export_pipelines for all to audit_operator using (true) with check (true);
--> statement-breakpoint
grant select, insert, update on dead_letters to audit_indexer, audit_exporter;
--> statement-breakpoint
grant select, insert, update, delete on dead_letters to audit_operator;
--> statement-breakpoint
grant select, insert, update on service_counters to audit_api, audit_indexer, audit_exporter, audit_maintenance;
--> statement-breakpoint
grant select on service_counters to audit_operator;
--> statement-breakpoint
grant select, insert on pending_index to audit_operator;
--> statement-breakpoint
grant select, delete on index_failures to audit_operator;
--> statement-breakpoint
-- What a redrive sets, and nothing of what an export covers or holds.
grant select (tenant_id, id, status, error_message) on export_pipelines to audit_operator;
--> statement-breakpoint
grant update (status, finished_at, tries, due_at, error_code, error_message) on export_pipelines to audit_operator;
--> statement-breakpoint
-- Rows and bytes of finished exports, counted with the change that finishes one: exports are removed
-- later, and a counter must not fall.
create function count_finished_export() returns trigger language plpgsql as $$
begin
  insert into service_counters (name, part, value)
  values ('export_rows', 'export', new.rows_exported), ('export_bytes', 'export', new.bytes)
  on conflict (name, part) do update set value = service_counters.value + excluded.value;
  return null;
end
$$;
--> statement-breakpoint
create trigger count_finished_export after update of status on export_pipelines
  for each row when (new.status = 'DONE' and old.status <> 'DONE')
  execute function count_finished_export();
