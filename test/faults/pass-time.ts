import type pg from "pg";

/**
 * Lets time pass for what waits for a sweep, so that a run of minutes has what happens in hours: rows of
 * the outbox and exports are due so much sooner. Leases of exporters at work stay.
 */
export async function passTime(client: pg.Client, seconds: number): Promise<void> {
  // What the service has locked is being dealt with: waiting for it could end in a deadlock.
  await client.query(
    `with waiting as (select tenant_id, log_id from pending_index for update skip locked)
     update pending_index set due_at = due_at - make_interval(secs => $1) from waiting
     where (pending_index.tenant_id, pending_index.log_id) = (waiting.tenant_id, waiting.log_id)`,
    [seconds],
  );
  await client.query(
    `with waiting as (
       select tenant_id, id from export_pipelines
       where status in ('PENDING', 'IN_PROGRESS') and coalesce(lease_until, '-infinity') < clock_timestamp()
       for update skip locked
     )
     update export_pipelines set due_at = due_at - make_interval(secs => $1) from waiting
     where (export_pipelines.tenant_id, export_pipelines.id) = (waiting.tenant_id, waiting.id)`,
    [seconds],
  );
}

/** Ends the leases of exporters. None may be alive. */
export async function endLeases(client: pg.Client): Promise<void> {
  await client.query(
    "update export_pipelines set lease_until = clock_timestamp() where lease_until is not null",
  );
}
