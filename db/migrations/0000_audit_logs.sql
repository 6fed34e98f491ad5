-- Roles that no one can log in as. Each transaction takes one with set_config('role', …, true),
-- because the owner may bypass row-level security (on Neon it does).
do $$
declare
  name text;
begin
  foreach name in array array['audit_api', 'audit_indexer', 'audit_maintenance'] loop
    begin
      execute format('create role %I nologin', name);
    exception
      when duplicate_object or unique_violation then null;
    end;
    -- SET and no INHERIT: else the policies of every role would hold for the owner at all times.
    execute format('grant %I to current_user with set true, inherit false', name);
    execute format('grant usage on schema public to %I', name);
  end loop;
end
$$;
--> statement-breakpoint
create table tenants (
  id text primary key check (id <> '' and length(id) <= 255),
  created_at timestamptz(3) not null default clock_timestamp()
);
--> statement-breakpoint
-- Partitioned by month over the id, whose first 48 bits are created_at in milliseconds. There is no
-- default partition: it would keep `id < cursor` from stopping early, and block attaching a new month.
create table audit_logs (
  id uuid not null,
  tenant_id text not null,
  created_at timestamptz(3) not null,
  occurred_at timestamptz(3) not null,
  recorded_by text not null,
  action text not null,
  severity text not null,
  outcome text,
  actor_type text not null,
  actor_name text,
  user_id text,
  email text,
  email_hash text,
  session_id text,
  request_id text,
  ip_address text,
  user_agent text,
  resource_type text not null,
  resource_id text not null,
  resource_name text,
  description text,
  -- json, not jsonb: the text as it was sent, with its key order and every digit.
  metadata json,
  before_state json,
  after_state json,
  targets json,
  event_id text,
  truncated_fields json,
  masked_fields json,
  primary key (tenant_id, id)
) partition by range (id);
--> statement-breakpoint
-- The outbox: a row stays until its log is searchable.
create table pending_index (
  tenant_id text not null,
  log_id uuid not null,
  rev integer not null default 1,
  attempts integer not null default 0,
  -- The sweep sends a row's message again after this time, and moves it on: its lease.
  due_at timestamptz not null default clock_timestamp() + interval '30 seconds',
  primary key (tenant_id, log_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
create index pending_index_due_at on pending_index (due_at);
--> statement-breakpoint
-- Logs that OpenSearch can never take, and why.
create table index_failures (
  tenant_id text not null,
  log_id uuid not null,
  reason text not null,
  failed_at timestamptz(3) not null default clock_timestamp(),
  primary key (tenant_id, log_id)
);
--> statement-breakpoint
create function app_tenant() returns text language sql stable parallel safe as $$
  select nullif(current_setting('app.tenant_id', true), '')
$$;
--> statement-breakpoint
-- The `user` role's wall: null when the caller may see the whole tenant.
create function app_user_wall() returns text language sql stable parallel safe as $$
  select nullif(current_setting('app.user_id', true), '')
$$;
--> statement-breakpoint
alter table tenants enable row level security;
--> statement-breakpoint
alter table tenants force row level security;
--> statement-breakpoint
alter table audit_logs enable row level security;
--> statement-breakpoint
alter table audit_logs force row level security;
--> statement-breakpoint
alter table pending_index enable row level security;
--> statement-breakpoint
alter table pending_index force row level security;
--> statement-breakpoint
alter table index_failures enable row level security;
--> statement-breakpoint
alter table index_failures force row level security;
--> statement-breakpoint
create policy api_own_tenant on tenants for select to audit_api using (id = app_tenant());
--> statement-breakpoint
create policy api_new_tenant on tenants for insert to audit_api with check (id = app_tenant());
--> statement-breakpoint
create policy api_read on audit_logs for select to audit_api
  using (tenant_id = app_tenant() and (app_user_wall() is null or user_id = app_user_wall()));
--> statement-breakpoint
create policy api_write on audit_logs for insert to audit_api
  with check (tenant_id = app_tenant() and (app_user_wall() is null or user_id = app_user_wall()));
--> statement-breakpoint
create policy api_read on pending_index for select to audit_api using (tenant_id = app_tenant());
--> statement-breakpoint
create policy api_write on pending_index for insert to audit_api with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy api_read on index_failures for select to audit_api using (tenant_id = app_tenant());
--> statement-breakpoint
create policy indexer_all on audit_logs for select to audit_indexer using (true);
--> statement-breakpoint
create policy indexer_all on pending_index for all to audit_indexer using (true) with check (true);
--> statement-breakpoint
create policy indexer_all on index_failures for all to audit_indexer using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on pending_index for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
-- No grant on a partition, ever: it would walk past the policy of its parent.
grant select, insert on tenants to audit_api;
--> statement-breakpoint
grant select, insert on audit_logs, pending_index to audit_api;
--> statement-breakpoint
grant select on index_failures to audit_api;
--> statement-breakpoint
grant select on audit_logs to audit_indexer;
--> statement-breakpoint
grant select, delete on pending_index to audit_indexer;
--> statement-breakpoint
grant select, insert, update on index_failures to audit_indexer;
--> statement-breakpoint
grant select, update on pending_index to audit_maintenance;
--> statement-breakpoint
-- The first id of a millisecond: a bound, never the id of a log.
create function first_id_at(at timestamptz) returns uuid language sql immutable parallel safe as $$
  select rpad(lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
--> statement-breakpoint
-- UUIDv7 (RFC 9562): 48 bits of milliseconds, a counter in the 12 bits after the version that keeps
-- the order of one batch, and 62 random bits.
create function audit_log_id(at timestamptz, n integer) returns uuid language sql volatile parallel safe as $$
  select (
    lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0')
    || '7' || lpad(to_hex(n), 3, '0')
    || right(replace(gen_random_uuid()::text, '-', ''), 16)
  )::uuid
$$;
--> statement-breakpoint
-- Every transaction that writes logs takes this first. A transaction that began earlier may commit
-- later, so "the newest id that I see" bounds nothing; safe_time() reads these locks instead.
create function lock_write() returns void language sql volatile as $$
  select pg_advisory_xact_lock_shared(
    (76::bigint << 48) | floor(extract(epoch from clock_timestamp()) * 1000)::bigint
  )
$$;
--> statement-breakpoint
-- Everything stored before this time is visible to a statement that begins after it returned: the
-- clock, read first, or the oldest write still under way. Exclusive.
create function safe_time() returns timestamptz language plpgsql volatile as $$
declare
  now_ms bigint := floor(extract(epoch from clock_timestamp()) * 1000);
  oldest_ms bigint;
begin
  select min(((classid::bigint & 65535) << 32) | objid::bigint) into oldest_ms
  from pg_locks
  where locktype = 'advisory'
    and objsubid = 1
    and classid::bigint >> 16 = 76
    and database = (select oid from pg_database where datname = current_database());
  return to_timestamp(least(now_ms, oldest_ms) / 1000.0);
end
$$;
--> statement-breakpoint
-- Makes the month of now and the three after it. SECURITY DEFINER, so that a write that finds no
-- month (23514) can make it; it takes no argument, so that it can make no other.
create function ensure_partition() returns integer
language plpgsql security definer set search_path = pg_catalog, public as $$
declare
  this_month timestamp := date_trunc('month', clock_timestamp() at time zone 'UTC');
  month timestamp;
  name text;
  made integer := 0;
begin
  perform pg_advisory_xact_lock(hashtext('ensure_partition'), 0);
  for ahead in 0..3 loop
    month := this_month + make_interval(months => ahead);
    name := 'audit_logs_' || to_char(month, 'YYYY_MM');
    continue when to_regclass(format('public.%I', name)) is not null;
    execute format('create table public.%I (like public.audit_logs including all)', name);
    execute format(
      'alter table public.audit_logs attach partition public.%I for values from (%L) to (%L)',
      name,
      public.first_id_at(month at time zone 'UTC'),
      public.first_id_at((month + interval '1 month') at time zone 'UTC')
    );
    made := made + 1;
  end loop;
  return made;
end
$$;
--> statement-breakpoint
revoke execute on function ensure_partition() from public;
--> statement-breakpoint
grant execute on function ensure_partition() to audit_api, audit_maintenance;
--> statement-breakpoint
-- Every leaf of a JSON value as path=text, as the indexer writes metadata_pairs: keys joined by dots,
-- the elements of an array under the array's own path.
create function json_pairs(value json, path text default '') returns setof text
language plpgsql immutable parallel safe as $$
declare
  key text;
  member json;
begin
  case json_typeof(value)
    when 'object' then
      for key, member in select * from json_each(value) loop
        return query select * from json_pairs(member, case when path = '' then key else path || '.' || key end);
      end loop;
    when 'array' then
      for member in select * from json_array_elements(value) loop
        return query select * from json_pairs(member, path);
      end loop;
    else
      return next path || '=' || coalesce(value #>> '{}', 'null');
  end case;
end
$$;
--> statement-breakpoint
-- An address as inet, or null: ip_address is text of any form. Not in plain SQL: there the planner may
-- cast a constant before the check is asked.
create function try_inet(address text) returns inet language plpgsql stable parallel safe as $$
begin
  if pg_input_is_valid(address, 'inet') and position('/' in address) = 0 then
    return address::inet;
  end if;
  return null;
end
$$;
--> statement-breakpoint
select ensure_partition();
