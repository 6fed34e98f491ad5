import type pg from "pg";

/**
 * Lets some transactions that write logs commit late: up to so long after their ids were made, while
 * others are made, committed and indexed. So it is by chance in any busy database, and here all the time.
 */
export async function installLateCommits(client: pg.Client): Promise<void> {
  await client.query(`
    create table late_commits (tenant_id text primary key, share real not null, most_ms integer not null);
    create table late_writes (tenant_id text not null, log_id uuid not null, awake_at timestamptz not null);
    create function commit_late() returns trigger language plpgsql security definer as $$
    begin
      -- Once for a transaction, not for each of its logs.
      if coalesce(current_setting('faults.commits', true), '') = '' then
        perform set_config('faults.commits', 'asked', true);
        perform pg_sleep(random() * most_ms / 1000.0) from late_commits
        where tenant_id = new.tenant_id and random() < share;
        if found then
          insert into late_writes values (new.tenant_id, new.log_id, clock_timestamp());
        end if;
      end if;
      return null;
    end
    $$;
    create constraint trigger commit_late after insert on pending_index
      deferrable initially deferred for each row execute function commit_late();
  `);
}

/** @param share of the tenant's transactions, from 0 to 1 */
export async function commitLate(
  client: pg.Client,
  tenant: string,
  share: number,
  mostMs: number,
): Promise<void> {
  await client.query(
    `insert into late_commits values ($1, $2, $3) on conflict (tenant_id) do update
     set share = excluded.share, most_ms = excluded.most_ms`,
    [tenant, share, mostMs],
  );
}

/** A log whose transaction was late, and a moment (ms since 1970) at which it was not committed yet. */
export type LateWrite = { tenant: string; logId: string; uncommittedAt: number };

export async function readLateWrites(client: pg.Client): Promise<LateWrite[]> {
  const { rows } = await client.query<{ tenant_id: string; log_id: string; awake_at: Date }>(
    "select tenant_id, log_id, awake_at from late_writes",
  );
  return rows.map((row) => ({
    tenant: row.tenant_id,
    logId: row.log_id,
    uncommittedAt: row.awake_at.getTime(),
  }));
}

export async function endLateCommits(client: pg.Client): Promise<void> {
  await client.query("delete from late_commits");
}
