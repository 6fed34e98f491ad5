-- The role that finds a key by its hash before a tenant is known. Nobody takes it: it owns one function.
do $$
begin
  begin
    create role audit_gate nologin;
  exception
    when duplicate_object or unique_violation then null;
  end;
  grant audit_gate to current_user with set true, inherit false;
  grant usage on schema public to audit_gate;
end
$$;
--> statement-breakpoint
create table api_keys (
  id uuid primary key default gen_random_uuid(),
  tenant_id text not null,
  -- SHA-256 of the key, which has 32 random bytes: no salt and no slow hash are needed.
  hash bytea not null unique check (length(hash) = 32),
  name text not null check (name <> '' and length(name) <= 255),
  roles text[] not null check (roles <@ array['admin', 'auditor', 'writer'] and cardinality(roles) > 0),
  created_at timestamptz(3) not null default clock_timestamp(),
  created_by text not null,
  expires_at timestamptz(3),
  last_used_at timestamptz(3),
  -- The row stays: logs name the key that recorded them.
  revoked_at timestamptz(3)
);
--> statement-breakpoint
create index api_keys_of_tenant on api_keys (tenant_id, created_at) where revoked_at is null;
--> statement-breakpoint
alter table api_keys enable row level security;
--> statement-breakpoint
alter table api_keys force row level security;
--> statement-breakpoint
create policy api_own on api_keys for all to audit_api
  using (tenant_id = app_tenant()) with check (tenant_id = app_tenant());
--> statement-breakpoint
create policy gate_find on api_keys for select to audit_gate using (true);
--> statement-breakpoint
grant select (id, tenant_id, name, roles, created_at, created_by, expires_at, last_used_at, revoked_at)
  on api_keys to audit_api;
--> statement-breakpoint
grant insert (tenant_id, hash, name, roles, created_by, expires_at), update (last_used_at, revoked_at)
  on api_keys to audit_api;
--> statement-breakpoint
grant select (id, tenant_id, hash, roles, expires_at, revoked_at) on api_keys to audit_gate;
--> statement-breakpoint
create function find_api_key(key_hash bytea)
returns table (id uuid, tenant_id text, roles text[], expires_at timestamptz)
language sql stable security definer set search_path = pg_catalog, public as $$
  select k.id, k.tenant_id, k.roles, k.expires_at
  from public.api_keys k
  where k.hash = key_hash
    and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > clock_timestamp())
$$;
--> statement-breakpoint
revoke execute on function find_api_key(bytea) from public;
--> statement-breakpoint
grant execute on function find_api_key(bytea) to audit_api;
--> statement-breakpoint
-- An owner of a function must be able to make one, for as long as it becomes the owner.
grant create on schema public to audit_gate;
--> statement-breakpoint
alter function find_api_key(bytea) owner to audit_gate;
--> statement-breakpoint
revoke create on schema public from audit_gate;
