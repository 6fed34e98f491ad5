import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import "../provided.ts";

const writers = 16;
const writesEach = 40;

const pool = new pg.Pool({
  connectionString: inject("workerEnv")["DATABASE_URL"],
  max: writers + 4,
});
const tenant = `settled-${randomUUID()}`;

/** A write as the service makes it, but one that takes its time to commit. */
async function slowWrite(): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query("begin");
    await client.query("select lock_write()");
    await client.query(
      `with stamp as materialized (select date_trunc('milliseconds', clock_timestamp()) as at)
       insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id)
       select audit_log_id(at, 0), $1, at, at, 'test', 'a', 'INFO', 'user', 'r', '1' from stamp`,
      [tenant],
    );
    await client.query("select pg_sleep(random() * 0.06)");
    await client.query("commit");
  } finally {
    client.release();
  }
}

type Reading = { bound: string; visible: number };

async function countBelow(bound: string): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(
    "select count(*)::int as n from audit_logs where tenant_id = $1 and id < first_id_at($2::timestamptz)",
    [tenant, bound],
  );
  return rows[0]?.n ?? 0;
}

async function readingsWhile(busy: Promise<unknown>, boundQuery: string): Promise<Reading[]> {
  const readings: Reading[] = [];
  const state = { isBusy: true };
  void busy.finally(() => {
    state.isBusy = false;
  });
  while (state.isBusy) {
    const { rows } = await pool.query<{ bound: string | null }>(
      boundQuery,
      boundQuery.includes("$1") ? [tenant] : [],
    );
    const bound = rows[0]?.bound;
    if (bound) readings.push({ bound, visible: await countBelow(bound) });
  }
  return readings;
}

async function falseReadings(readings: Reading[]): Promise<number> {
  let wrong = 0;
  for (const { bound, visible } of readings) if ((await countBelow(bound)) !== visible) wrong++;
  return wrong;
}

let settled: Reading[] = [];
let newest: Reading[] = [];

beforeAll(async () => {
  const writing = Promise.all(
    Array.from({ length: writers }, async () => {
      for (let n = 0; n < writesEach; n++) await slowWrite();
    }),
  );
  [settled, newest] = await Promise.all([
    readingsWhile(writing, "select safe_time()::text as bound"),
    readingsWhile(
      writing,
      "select max(created_at)::text as bound from audit_logs where tenant_id = $1",
    ),
    writing,
  ]);
});

afterAll(() => pool.end());

test("every log stored before safe_time() is visible, however late others commit", async () => {
  expect(settled.length).toBeGreaterThan(50);
  expect(await falseReadings(settled)).toBe(0);
});

test("safe_time() moves on while writes go on", () => {
  const moments = new Set(settled.map((reading) => reading.bound));
  expect(moments.size).toBeGreaterThan(20);
});

test("the newest visible log is a false mark, so that this race is a real one", async () => {
  expect(await falseReadings(newest)).toBeGreaterThan(0);
});

test("a write that is under way holds safe_time() back, and lets it go when it ends", async () => {
  const client = await pool.connect();
  await client.query("begin");
  const { rows } = await client.query<{ began: string }>(
    "select date_trunc('milliseconds', clock_timestamp())::text as began, lock_write()",
  );
  const began = rows[0]?.began;
  const isHeld = async () => {
    const answer = await pool.query<{ held: boolean }>(
      "select safe_time() <= $1::timestamptz + interval '2 ms' as held",
      [began],
    );
    return answer.rows[0]?.held;
  };
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(await isHeld()).toBe(true);
  await client.query("rollback");
  client.release();
  expect(await isHeld()).toBe(false);
});
