-- Settings that the API must know before it writes. Null is the default of every one of them.
alter table tenants
  add column masking json,
  -- Of the settings that settings_of() names: raised when one of them changes.
  add column settings_version integer not null default 0;
--> statement-breakpoint
create function settings_of(tenant tenants) returns json language sql immutable as $$
  select json_build_object('masking', tenant.masking)
$$;
--> statement-breakpoint
-- By whatever changes them, also by hand: an isolate that knows the former version asks no one else.
create function raise_settings_version() returns trigger language plpgsql as $$
begin
  new.settings_version := old.settings_version
    + case when settings_of(new)::text is distinct from settings_of(old)::text then 1 else 0 end;
  return new;
end
$$;
--> statement-breakpoint
create trigger raise_settings_version before update on tenants
  for each row execute function raise_settings_version();
--> statement-breakpoint
grant update (masking) on tenants to audit_api;
--> statement-breakpoint
grant insert (masking, settings_version), update (masking) on tenants to audit_operator;
--> statement-breakpoint
drop function admit(timestamptz, boolean);
--> statement-breakpoint
-- assumed_version: of the settings that the request goes by; null for one that goes by none, as all of the
-- release before do. A tenant that is not known yet has the defaults, and version 0.
create function admit(issued_at timestamptz, must_be_known boolean, assumed_version integer default null)
returns void language plpgsql stable as $$
declare
  tenant tenants;
begin
  select * into tenant from tenants where id = app_tenant();
  if not found then
    if must_be_known then
      raise exception using errcode = 'AL001', message = 'the tenant is not known';
    end if;
  elsif tenant.status <> 'active' then
    raise exception using errcode = 'AL002', message = 'the tenant is suspended';
  elsif issued_at < tenant.tokens_not_before then
    raise exception using errcode = 'AL003', message = 'the token was ended';
  end if;
  if assumed_version <> coalesce(tenant.settings_version, 0) then
    raise exception using errcode = 'AL004', message = 'the settings are others',
      detail = json_build_object(
        'version', coalesce(tenant.settings_version, 0), 'settings', settings_of(tenant));
  end if;
end
$$;
--> statement-breakpoint
-- The `user` role's own logs are its own also where the tenant has user_id hashed.
create function app_user_hash() returns text language sql stable parallel safe as $$
  select nullif(current_setting('app.user_hash', true), '')
$$;
--> statement-breakpoint
alter policy api_read on audit_logs
  using (
    tenant_id = app_tenant()
    and (app_user_wall() is null or user_id = app_user_wall() or user_id = app_user_hash())
  );
--> statement-breakpoint
alter policy api_write on audit_logs
  with check (
    tenant_id = app_tenant()
    and (app_user_wall() is null or user_id = app_user_wall() or user_id = app_user_hash())
  );
