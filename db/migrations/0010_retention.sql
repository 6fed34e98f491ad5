-- What is removed in a later release: the Workers of the release before still run when this is applied, and
-- none since 0006 uses this table.
drop table export_keys;
--> statement-breakpoint
-- The role that removes logs. Its policies know by themselves what may go: see ADR 18.
do $$
begin
  begin
    create role audit_retention nologin;
  exception
    when duplicate_object or unique_violation then null;
  end;
  grant audit_retention to current_user with set true, inherit false;
  grant usage on schema public to audit_retention;
end
$$;
--> statement-breakpoint
alter table tenants
  -- What was set last; null: the deployment's default, for those who ask for a cleanup, and for ever for all else.
  add column retention_days integer check (retention_days between 1 and 36500),
  -- What held before is kept to as well until that time, where it is longer; null there: the same as above.
  add column retention_days_before integer,
  add column retention_takes_effect_at timestamptz(3),
  -- Nothing is removed.
  add column legal_hold boolean not null default false;
--> statement-breakpoint
create index export_pipelines_unfinished on export_pipelines (tenant_id)
  where status in ('PENDING', 'IN_PROGRESS', 'FAILED');
--> statement-breakpoint
-- Where the removal of a tenant's old logs is, and when it goes on: once a day where a retention was set.
create table retention_runs (
  tenant_id text primary key,
  -- What an admin has asked for, until it is done: logs that were stored before go, by this default.
  cutoff timestamptz(3),
  fallback_days integer,
  -- No log is left before this id.
  position uuid not null default '00000000-0000-0000-0000-000000000000',
  due_at timestamptz not null
);
--> statement-breakpoint
create index retention_runs_due_at on retention_runs (due_at);
--> statement-breakpoint
-- What OpenSearch must lose: written by the transaction that removes the logs, and kept until OpenSearch was
-- found without them some minutes later.
create table index_removals (
  tenant_id text primary key,
  -- The tenant has no log up to this one.
  through_id uuid not null,
  raised_at timestamptz(3) not null default clock_timestamp(),
  -- Since when OpenSearch may have what is gone; null where it had nothing left.
  waiting_since timestamptz(3) default clock_timestamp(),
  due_at timestamptz not null default clock_timestamp()
);
--> statement-breakpoint
create index index_removals_due_at on index_removals (due_at);
--> statement-breakpoint
alter table retention_runs enable row level security;
--> statement-breakpoint
alter table retention_runs force row level security;
--> statement-breakpoint
alter table index_removals enable row level security;
--> statement-breakpoint
alter table index_removals force row level security;
--> statement-breakpoint
-- Days that logs are kept for: the longer of two, while a shorter one has not taken effect. Null: for ever.
create function kept_days(wanted integer, before integer, takes_effect_at timestamptz, fallback integer)
returns integer language sql stable as $$
  select case
    when takes_effect_at is null or takes_effect_at <= clock_timestamp() then coalesce(wanted, fallback)
    -- greatest() leaves nulls out.
    when coalesce(wanted, fallback) is null or coalesce(before, fallback) is null then null
    else greatest(coalesce(wanted, fallback), coalesce(before, fallback))
  end
$$;
--> statement-breakpoint
-- The time before which logs of that age are too old. 1970 where all are kept: first_id_at() knows no time
-- before, and would make the last of all ids of it.
create function cutoff_of(days integer) returns timestamptz language sql stable as $$
  select greatest(
    date_trunc('milliseconds', clock_timestamp()) - make_interval(hours => 24 * days), to_timestamp(0)
  )
$$;
--> statement-breakpoint
-- The time before which the tenant's logs may go by its settings: 1970 under a legal hold. What counts where
-- nothing was set is a setting of the transaction; without it that is for ever.
create function retention_cutoff() returns timestamptz language sql stable as $$
  select coalesce((
    select cutoff_of(kept_days(
      retention_days, retention_days_before, retention_takes_effect_at,
      nullif(current_setting('app.default_retention_days', true), '')::integer
    ))
    from tenants where id = app_tenant() and not legal_hold
  ), to_timestamp(0))
$$;
--> statement-breakpoint
-- The first log that must stay: as above, and nothing that an export covers which is not over. One that has
-- failed can be tried again for 7 days; the day more is for the clock of the two to be no matter.
create function retention_bound() returns uuid language sql stable as $$
  select first_id_at(greatest(to_timestamp(0), least(retention_cutoff(), (
    select min(to_timestamp(coalesce((filters ->> 'from')::bigint, 0) / 1000.0))
    from export_pipelines
    where tenant_id = app_tenant()
      and (
        status in ('PENDING', 'IN_PROGRESS')
        or status = 'FAILED' and finished_at > clock_timestamp() - interval '8 days'
      )
  ))))
$$;
--> statement-breakpoint
-- One transaction at a time removes logs of a tenant. Whoever makes logs stay waits until it is over, and
-- from then on every other sees that they must.
create function lock_retention(tenant text) returns void language sql volatile as $$
  select pg_advisory_xact_lock(hashtext('retention'), hashtext(tenant))
$$;
--> statement-breakpoint
create function await_retention(tenant text) returns void language sql volatile as $$
  select pg_advisory_xact_lock_shared(hashtext('retention'), hashtext(tenant))
$$;
--> statement-breakpoint
-- A longer retention holds at once, a shorter one after 7 days, whoever sets it: what holds until then is the
-- longer one of before. A tenant that is new has no logs yet.
create function change_retention() returns trigger language plpgsql as $$
declare
  held integer := case
    when old.retention_takes_effect_at > clock_timestamp() then old.retention_days_before
    else old.retention_days
  end;
begin
  perform await_retention(new.id);
  if new.retention_days is not distinct from old.retention_days then
    return new;
  end if;
  if new.retention_days >= held or (new.retention_days is null and held is null) then
    new.retention_days_before := null;
    new.retention_takes_effect_at := null;
  else
    new.retention_days_before := held;
    new.retention_takes_effect_at := clock_timestamp() + interval '7 days';
  end if;
  return new;
end
$$;
--> statement-breakpoint
create trigger change_retention before update of retention_days, legal_hold on tenants
  for each row execute function change_retention();
--> statement-breakpoint
create function begin_daily_retention() returns trigger language plpgsql as $$
begin
  insert into retention_runs (tenant_id, due_at)
  values (new.id, coalesce(new.retention_takes_effect_at, clock_timestamp()))
  on conflict (tenant_id) do update set due_at = least(retention_runs.due_at, excluded.due_at);
  return null;
end
$$;
--> statement-breakpoint
create trigger begin_daily_retention after insert or update of retention_days on tenants
  for each row when (new.retention_days is not null) execute function begin_daily_retention();
--> statement-breakpoint
create function keep_for_export() returns trigger language plpgsql as $$
begin
  perform await_retention(new.tenant_id);
  return new;
end
$$;
--> statement-breakpoint
create trigger keep_for_new_export before insert on export_pipelines
  for each row execute function keep_for_export();
--> statement-breakpoint
create trigger keep_for_retried_export before update of status on export_pipelines
  for each row when (new.status = 'PENDING') execute function keep_for_export();
--> statement-breakpoint
create policy retention_read on tenants for select to audit_retention using (id = app_tenant());
--> statement-breakpoint
create policy retention_read on export_pipelines for select to audit_retention using (tenant_id = app_tenant());
--> statement-breakpoint
create policy retention_read on audit_logs for select to audit_retention using (tenant_id = app_tenant());
--> statement-breakpoint
-- The bound is a subquery, so that it is asked for once in a statement.
create policy retention_remove on audit_logs for delete to audit_retention
  using (tenant_id = app_tenant() and id < (select retention_bound()));
--> statement-breakpoint
create policy retention_read on pending_index for select to audit_retention using (tenant_id = app_tenant());
--> statement-breakpoint
create policy retention_remove on pending_index for delete to audit_retention
  using (tenant_id = app_tenant() and not exists (
    select from audit_logs where (tenant_id, id) = (pending_index.tenant_id, pending_index.log_id)
  ));
--> statement-breakpoint
create policy retention_read on index_failures for select to audit_retention using (tenant_id = app_tenant());
--> statement-breakpoint
create policy retention_remove on index_failures for delete to audit_retention
  using (tenant_id = app_tenant() and not exists (
    select from audit_logs where (tenant_id, id) = (index_failures.tenant_id, index_failures.log_id)
  ));
--> statement-breakpoint
create policy retention_own on service_counters for all to audit_retention
  using (name in ('logs_removed', 'logs_stored')) with check (name in ('logs_removed', 'logs_stored'));
--> statement-breakpoint
create policy retention_own on retention_runs for all to audit_retention
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy api_own on retention_runs for all to audit_api
  using (tenant_id = app_tenant() and app_user_wall() is null)
  with check (tenant_id = app_tenant() and app_user_wall() is null);
--> statement-breakpoint
create policy operator_all on retention_runs for all to audit_operator using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on retention_runs for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy retention_own on index_removals for all to audit_retention
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy operator_read on index_removals for select to audit_operator using (true);
--> statement-breakpoint
create policy maintenance_all on index_removals for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
grant insert (retention_days, legal_hold), update (retention_days, legal_hold) on tenants to audit_operator;
--> statement-breakpoint
grant select (id, retention_days, retention_days_before, retention_takes_effect_at, legal_hold)
  on tenants to audit_retention;
--> statement-breakpoint
grant select (tenant_id, status, filters, finished_at) on export_pipelines to audit_retention;
--> statement-breakpoint
-- For how long a failed export can be redriven.
grant select (finished_at) on export_pipelines to audit_operator;
--> statement-breakpoint
-- It removes logs, and cannot read one.
grant select (tenant_id, id), delete on audit_logs to audit_retention;
--> statement-breakpoint
grant select (tenant_id, log_id, is_first), delete on pending_index to audit_retention;
--> statement-breakpoint
grant select (tenant_id, log_id), delete on index_failures to audit_retention;
--> statement-breakpoint
grant select, insert, update on service_counters to audit_retention;
--> statement-breakpoint
grant select, update on retention_runs to audit_retention, audit_maintenance;
--> statement-breakpoint
grant select, insert, update on retention_runs to audit_api;
--> statement-breakpoint
grant select, insert (tenant_id, due_at), update (due_at) on retention_runs to audit_operator;
--> statement-breakpoint
grant select, insert, update on index_removals to audit_retention;
--> statement-breakpoint
grant select, update, delete on index_removals to audit_maintenance;
--> statement-breakpoint
grant select on index_removals to audit_operator;
