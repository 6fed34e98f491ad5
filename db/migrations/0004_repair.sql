-- 31 random bits of an id. Their sum over a slice of time tells two sets of ids apart; OpenSearch has the
-- same number in each document and sums it as well, exactly up to 2^53.
create function id_check(id uuid) returns bigint language sql immutable parallel safe as $$
  select ('x' || right(id::text, 8))::bit(32)::bigint & 2147483647
$$;
--> statement-breakpoint
-- The revision of a log that is put back into the outbox: above that of every write before, and rising.
create function repair_rev() returns integer language sql volatile as $$
  select floor(extract(epoch from clock_timestamp()))::integer - 1577836800
$$;
--> statement-breakpoint
-- Comparisons of Postgres with OpenSearch that are under way, or were: where each is, slice by slice.
-- Times are milliseconds since 1970.
create table reconcile_progress (
  name text primary key,
  -- The index, or the alias, that is compared.
  index_name text not null,
  -- Empty: every tenant.
  only_tenant text not null default '',
  slice_from bigint not null,
  until_ms bigint not null,
  width_ms bigint not null,
  -- Within the slice, tenants up to this one are done, in the order of bytes.
  tenant text not null default '',
  -- The comparison of contents goes log by log instead.
  last_id uuid,
  found bigint not null default 0,
  -- Searches are known to lack logs from slice_from on: indexed_through may not pass it.
  holds_mark boolean not null default false,
  began_at timestamptz(3) not null default clock_timestamp(),
  finished_at timestamptz(3)
);
--> statement-breakpoint
-- The index that each month was last seen to have: another one means that the old one's logs are lost.
create table index_months (
  month text primary key,
  index_uuid text not null
);
--> statement-breakpoint
-- A month that is, or was, written into a new index beside the old one.
create table reindexes (
  month text primary key,
  state text not null default 'PENDING' check (state in (
    'PENDING', 'COPYING', 'VERIFYING', 'SWAPPING', 'SWAPPED', 'CLEANING', 'DONE', 'CANCELLING', 'CANCELLED', 'FAILING', 'FAILED'
  )),
  -- The month's ids, the upper one exclusive.
  from_id uuid not null,
  to_id uuid not null,
  source_index text,
  target_index text,
  -- A time after the commit that made the indexer write into both; and, once safe_time() has passed it,
  -- the first id that the copy may leave to the indexer.
  settle_after timestamptz(3),
  bound_id uuid,
  -- The last log that was copied.
  tenant text not null default '',
  last_id uuid,
  logs_copied bigint not null default 0,
  logs_total bigint,
  error text,
  requested_by text not null,
  requested_at timestamptz(3) not null default clock_timestamp(),
  swapped_at timestamptz(3),
  finished_at timestamptz(3)
);
--> statement-breakpoint
-- One at a time: a job that a cron starts while the last one still runs.
create table job_leases (
  name text primary key,
  lease_until timestamptz not null,
  holder uuid not null
);
--> statement-breakpoint
alter table reconcile_progress enable row level security;
--> statement-breakpoint
alter table reconcile_progress force row level security;
--> statement-breakpoint
alter table index_months enable row level security;
--> statement-breakpoint
alter table index_months force row level security;
--> statement-breakpoint
alter table reindexes enable row level security;
--> statement-breakpoint
alter table reindexes force row level security;
--> statement-breakpoint
alter table job_leases enable row level security;
--> statement-breakpoint
alter table job_leases force row level security;
--> statement-breakpoint
-- A reader sees what holds back its own mark, and of no other tenant that it has lost anything.
create policy api_read on reconcile_progress for select to audit_api
  using (holds_mark and finished_at is null and only_tenant in ('', app_tenant()));
--> statement-breakpoint
-- The operator's lag of the index is that of the tenant that has the most.
create policy operator_read on reconcile_progress for select to audit_operator
  using (holds_mark and finished_at is null);
--> statement-breakpoint
create policy exporter_read on reconcile_progress for select to audit_exporter
  using (holds_mark and finished_at is null and only_tenant in ('', app_tenant()));
--> statement-breakpoint
create policy maintenance_all on reconcile_progress for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on index_months for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy operator_all on reindexes for all to audit_operator using (true)
  with check (state in ('PENDING', 'CANCELLING'));
--> statement-breakpoint
create policy indexer_read on reindexes for select to audit_indexer using (true);
--> statement-breakpoint
create policy maintenance_all on reindexes for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on job_leases for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy maintenance_read on audit_logs for select to audit_maintenance using (true);
--> statement-breakpoint
create policy maintenance_read on tenants for select to audit_maintenance using (true);
--> statement-breakpoint
create policy maintenance_read on index_failures for select to audit_maintenance using (true);
--> statement-breakpoint
grant select on reconcile_progress to audit_api, audit_exporter, audit_operator;
--> statement-breakpoint
grant select, insert, update, delete on reconcile_progress, index_months to audit_maintenance;
--> statement-breakpoint
grant select, insert, update on reindexes to audit_operator;
--> statement-breakpoint
grant select on reindexes to audit_indexer;
--> statement-breakpoint
grant select, update on reindexes to audit_maintenance;
--> statement-breakpoint
grant select, insert, update on job_leases to audit_maintenance;
--> statement-breakpoint
grant select on audit_logs, tenants, index_failures to audit_maintenance;
--> statement-breakpoint
grant insert on pending_index to audit_maintenance;
--> statement-breakpoint
-- Tenants are compared in the order of their bytes, as OpenSearch has them.
create index tenants_by_bytes on tenants (id collate "C");
