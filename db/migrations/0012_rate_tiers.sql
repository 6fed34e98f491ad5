-- How much a tenant may ask for: see ADR 20. Which tiers there are is said in code, where their limits are.
alter table tenants
  add column rate_tier text not null default 'standard' check (rate_tier ~ '^[a-z][a-z0-9_]{0,31}$');
--> statement-breakpoint
grant update (rate_tier) on tenants to audit_operator;
