-- Whether the outbox is so far behind that operators are told: one row, so that each beginning and each
-- end is told once, by whichever run of the maintenance Worker finds it first.
create table backpressure (
  one_row boolean primary key default true check (one_row),
  is_on boolean not null default false,
  since timestamptz(3) not null default clock_timestamp()
);
--> statement-breakpoint
insert into backpressure default values;
--> statement-breakpoint
alter table backpressure enable row level security;
--> statement-breakpoint
alter table backpressure force row level security;
--> statement-breakpoint
create policy maintenance_all on backpressure for all to audit_maintenance using (true) with check (true);
--> statement-breakpoint
grant select, update (is_on, since) on backpressure to audit_maintenance;
