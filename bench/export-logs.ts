import { Client } from "pg";

/** Every fourth log is another tenant's, so that an export meets them in each block that it reads. */
const noiseEvery = 4;
const noiseTenant = "export-noise";

/**
 * Stores a tenant's logs straight by SQL, about 900 bytes of CSV each, with another tenant's among them. Their
 * ids are of the last seconds, a log a millisecond, and of this month, whose partition is there.
 */
export async function fillTenant(
  databaseUrl: string,
  tenantId: string,
  rows: number,
): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query(fillStatement, [
      Math.floor((rows * noiseEvery) / (noiseEvery - 1)),
      noiseEvery,
      tenantId,
      noiseTenant,
      rows,
    ]);
    // As autovacuum leaves it a while later: index-only scans then need no look at the table.
    await client.query("vacuum analyze audit_logs");
  } finally {
    await client.end();
  }
}

const fillStatement = `
insert into audit_logs (
  id, tenant_id, created_at, occurred_at, recorded_by, action, severity, outcome, actor_type,
  actor_name, user_id, email, session_id, request_id, ip_address, user_agent, resource_type,
  resource_id, resource_name, description, metadata, before_state, after_state, targets
)
select
  audit_log_id(at, 0), case when is_noise then $4 else $3 end, at, at, 'auth0|5f7c8ec7c33c6c004bbafe82',
  (array['document.viewed', 'document.updated', 'document.deleted', 'document.shared'])[1 + n / 4 % 4],
  (array['INFO', 'INFO', 'INFO', 'WARNING', 'ERROR'])[1 + n % 5], 'success', 'user', 'Nora Quist',
  person, 'n***@example.com', 's_' || (n % 100003), 'req_' || (n % 1000003),
  '203.0.113.' || n % 256,
  'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
  'document', 'doc_' || n % 100003, title, title || ': changed by ' || person,
  json_build_object('team', 'finance', 'version', n % 100, 'size_bytes', n % 10000019,
    'labels', array['contract', 'roadmap'], 'client', json_build_object('name', 'web', 'build', '2026.11.' || n % 30)),
  json_build_object('status', 'draft', 'title', title, 'owner', person, 'shared_with', array['legal', 'sales'],
    'size_bytes', n % 10000019),
  json_build_object('status', 'published', 'title', title, 'owner', person,
    'shared_with', array['legal', 'sales', 'support'], 'size_bytes', n % 9999991),
  '[]'
from (
  select n::integer, n % $2::integer = 0 and n / $2::integer <= $1::integer - $5::integer as is_noise,
    'user_' || 1000 + n % 50 as person, 'quarterly budget ' || n % 1000 as title,
    date_trunc('milliseconds', first_at + make_interval(secs => n * step)) as at
  from generate_series(1, $1::integer) as n, (
    select first_at, extract(epoch from now() - first_at) / ($1::integer + 1) as step
    from (
      select greatest(
        date_trunc('month', now() at time zone 'UTC') at time zone 'UTC',
        now() - make_interval(secs => $1::integer / 1000.0)
      ) as first_at
    ) as month
  ) as clock
) as logs
order by n`;
