-- What is set for a tenant. Every column here has an effect at once: see ADR 16.
alter table tenants
  add column name text check (name <> '' and length(name) <= 255),
  add column status text not null default 'active' check (status in ('active', 'suspended')),
  -- Tokens that were issued before are refused.
  add column tokens_not_before timestamptz(3);
--> statement-breakpoint
-- The API makes tenants with the defaults only, and a tenant's admin may end its tokens: nothing else of it.
revoke insert on tenants from audit_api;
--> statement-breakpoint
grant insert (id), update (tokens_not_before) on tenants to audit_api;
--> statement-breakpoint
create policy api_own_settings on tenants for update to audit_api
  using (id = app_tenant()) with check (id = app_tenant());
--> statement-breakpoint
-- The platform admin's routes: every tenant's settings, and no tenant goes.
create policy operator_all on tenants for all to audit_operator using (true) with check (true);
--> statement-breakpoint
grant select, insert (id, name), update (name, status, tokens_not_before) on tenants to audit_operator;
--> statement-breakpoint
-- Comes before all that a request does in its tenant, in the same transaction: what it raises undoes that.
-- issued_at: infinity for a caller whose credential is no token.
create function admit(issued_at timestamptz, must_be_known boolean) returns void
language plpgsql stable as $$
declare
  tenant record;
begin
  select status, tokens_not_before into tenant from tenants where id = app_tenant();
  if not found then
    if must_be_known then
      raise exception using errcode = 'AL001', message = 'the tenant is not known';
    end if;
  elsif tenant.status <> 'active' then
    raise exception using errcode = 'AL002', message = 'the tenant is suspended';
  elsif issued_at < tenant.tokens_not_before then
    raise exception using errcode = 'AL003', message = 'the token was ended';
  end if;
end
$$;
