import pg from "pg";
import { expect, inject, test } from "vitest";
import { migrateDatabase } from "../../db/migrate.ts";
import journal from "../../db/migrations/meta/_journal.json" with { type: "json" };
import "../provided.ts";

const serverUrl = inject("workerEnv")["DATABASE_URL"] ?? "";

async function query<T extends pg.QueryResultRow>(
  url: string,
  text: string,
  values: unknown[] = [],
): Promise<T[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query<T>(text, values)).rows;
  } finally {
    await client.end();
  }
}

async function newDatabase(name: string): Promise<string> {
  await query(serverUrl, `create database ${name}`);
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return url.href;
}

test("migrations may run again, and two at once", async () => {
  const url = await newDatabase("twice");
  await Promise.all([migrateDatabase(url), migrateDatabase(url)]);
  await migrateDatabase(url);
  const [row] = await query<{ n: number }>(
    url,
    "select count(*)::int as n from drizzle.__drizzle_migrations",
  );
  expect(row?.n).toBe(journal.entries.length);
});

test("a server that does not answer is an error", async () => {
  await expect(migrateDatabase("postgres://a:b@127.0.0.1:9/c")).rejects.toThrow("ECONNREFUSED");
});

test("there are partitions for this month and three ahead, and each month's edge is in the right one", async () => {
  const url = await newDatabase("edges");
  await migrateDatabase(url);
  const months = await query<{ name: string; first: Date }>(
    url,
    `select to_char(month, '"audit_logs_"YYYY_MM') as name, month at time zone 'UTC' as first
     from generate_series(date_trunc('month', now() at time zone 'UTC'), now() at time zone 'UTC' + interval '3 months', interval '1 month') as month`,
  );
  expect(months).toHaveLength(4);
  const insert = `insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id)
    values (audit_log_id($1, 0), 't', $1, $1, 'test', 'a', 'INFO', 'user', 'r', '1') returning tableoid::regclass::text as name`;
  for (const [n, month] of months.entries()) {
    const [first] = await query<{ name: string }>(url, insert, [month.first]);
    expect(first?.name).toBe(month.name);
    const next = months[n + 1];
    const last = new Date((next?.first.getTime() ?? month.first.getTime() + 1000) - 1);
    expect((await query<{ name: string }>(url, insert, [last]))[0]?.name).toBe(month.name);
  }
  const [firstMonth] = months;
  const before = new Date((firstMonth?.first.getTime() ?? 0) - 1);
  await expect(query(url, insert, [before])).rejects.toMatchObject({ code: "23514" });
});

test("a list that is bounded by time opens only the months that it needs", async () => {
  const url = await newDatabase("pruned");
  await migrateDatabase(url);
  const plan = await query<Record<string, string>>(
    url,
    `explain select * from audit_logs where tenant_id = 't'
     and id >= first_id_at(now()) and id < first_id_at(now() + interval '1 second') order by id desc limit 11`,
  );
  const text = plan.map((row) => row["QUERY PLAN"]).join("\n");
  expect(text.match(/ on audit_logs_/g)).toHaveLength(1);
  expect(text).not.toContain("Sort");
});
