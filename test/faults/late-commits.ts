import type pg from "pg";

/**
 * Lets some transactions that write logs commit late: up to so long after their ids were made, while
 * others are made and committed. So it is by chance in any busy database, and here all the time.
 */
export async function installLateCommits(client: pg.Client): Promise<void> {
  await client.query(`
    create table late_commits (share real not null, most_ms integer not null);
    insert into late_commits values (0, 0);
    create function commit_late() returns trigger language plpgsql security definer as $$
    declare
      late late_commits;
    begin
      -- Once for a transaction, not for each of its logs.
      if coalesce(current_setting('faults.commits', true), '') = '' then
        perform set_config('faults.commits', 'asked', true);
        select * into late from late_commits;
        if random() < late.share then
          perform pg_sleep(random() * late.most_ms / 1000.0);
        end if;
      end if;
      return null;
    end
    $$;
    create constraint trigger commit_late after insert on pending_index
      deferrable initially deferred for each row execute function commit_late();
  `);
}

export async function setLateCommits(
  client: pg.Client,
  share: number,
  mostMs: number,
): Promise<void> {
  await client.query("update late_commits set share = $1, most_ms = $2", [share, mostMs]);
}
