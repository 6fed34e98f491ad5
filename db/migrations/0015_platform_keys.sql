-- Idempotency keys of platform admins, who have no tenant: the operator's role sees those that belong to none.
create policy operator_own on idempotency_keys for all to audit_operator
  using (tenant_id = '') with check (tenant_id = '');
--> statement-breakpoint
grant select, insert, update on idempotency_keys to audit_operator;
