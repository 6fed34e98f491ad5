-- It takes the place of export_keys, which Workers of the release before still use; a later migration drops it.
-- What callers named so that it is done once. A key belongs to a tenant, a caller, and a method with its
-- path, for 24 hours. A row is kept by the transaction of what it names: no other sees one that is not done.
create table idempotency_keys (
  tenant_id text not null,
  sub text not null,
  -- Method and path.
  scope text not null,
  key text not null,
  -- A keyed hash of the request's body.
  body_mac text not null,
  -- Says whose request holds the key.
  nonce uuid not null,
  -- What the answer names, in its order; null where nothing was done, which is as no row.
  ids uuid[],
  -- How many of them this request made itself.
  made integer,
  created_at timestamptz(3) not null,
  primary key (tenant_id, sub, scope, key)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
create index idempotency_keys_created_at on idempotency_keys (created_at);
--> statement-breakpoint
-- The senders' own ids of the last 7 days: audit_logs is partitioned by the log's id, and can hold no other
-- id unique. The `user` role has names of its own, so that it can neither take nor find out another's.
create table event_ids (
  tenant_id text not null,
  -- Empty for whoever sees the whole tenant.
  user_wall text not null,
  event_id text not null,
  -- A keyed hash of what was sent.
  content_mac text not null,
  -- Says whose request stored the log.
  nonce uuid not null,
  log_id uuid not null,
  created_at timestamptz(3) not null,
  primary key (tenant_id, user_wall, event_id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
--> statement-breakpoint
create index event_ids_created_at on event_ids (created_at);
--> statement-breakpoint
alter table idempotency_keys enable row level security;
--> statement-breakpoint
alter table idempotency_keys force row level security;
--> statement-breakpoint
alter table event_ids enable row level security;
--> statement-breakpoint
alter table event_ids force row level security;
--> statement-breakpoint
create policy api_all on idempotency_keys for all to audit_api
  using (tenant_id = app_tenant() and (app_user_wall() is null or sub = app_user_wall()))
  with check (tenant_id = app_tenant() and (app_user_wall() is null or sub = app_user_wall()));
--> statement-breakpoint
create policy api_all on event_ids for all to audit_api
  using (tenant_id = app_tenant() and user_wall = coalesce(app_user_wall(), ''))
  with check (tenant_id = app_tenant() and user_wall = coalesce(app_user_wall(), ''));
--> statement-breakpoint
create policy maintenance_all on idempotency_keys for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
create policy maintenance_all on event_ids for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
grant select, insert, update on idempotency_keys, event_ids to audit_api;
--> statement-breakpoint
grant select, delete on idempotency_keys, event_ids to audit_maintenance;
--> statement-breakpoint
-- No row of these is changed: `for update skip locked` asks for it, by which a chunk waits for no writer.
grant update (created_at) on idempotency_keys, event_ids to audit_maintenance;
--> statement-breakpoint
-- Ends a transaction in which entries name an event that was sent before with other content: nothing of it
-- stays. The detail is the entries' places, and no value.
create function refuse_event_ids(places integer[]) returns void language plpgsql as $$
begin
  raise exception 'an event_id was used with other content' using errcode = 'ALE01', detail = places::text;
end
$$;
