import { setTimeout as sleep } from "node:timers/promises";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { z } from "zod";
import { reconcile } from "../../consumers/maintenance/reconcile.ts";
import { removeFromSearch } from "../../consumers/maintenance/remove-from-index.ts";
import { asRetention } from "../../db/client.ts";
import { readServiceFigures } from "../../db/counters.ts";
import { lateWriteSeconds } from "../../db/index-removals.ts";
import { readPendingLogs } from "../../db/outbox.ts";
import { removeOldLogs } from "../../db/remove-old-logs.ts";
import { deleteOldest, type RetentionRun } from "../../db/retention.ts";
import { settleRun } from "../../db/retention-runs.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { firstIdAt, idMonth, idTime } from "../../events/ids.ts";
import { createLogger, type LogFields } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import "../provided.ts";
import { emptyOutbox, type OwnBackends, startOwnBackends } from "./own-backends.ts";

vi.setConfig({ testTimeout: 60_000 });

const searchMissing = inject("searchMissing");
const dayMs = 24 * 60 * 60 * 1000;
let own: OwnBackends;
let tenant = "";
let n = 0;
let events: LogFields[] = [];
const logger = {
  ...createLogger("test", "ERROR"),
  info: () => {},
  warning: (event: string, fields: LogFields = {}) => void events.push({ event, ...fields }),
  error: (event: string, fields: LogFields = {}) => void events.push({ event, ...fields }),
};

beforeAll(async () => {
  if (searchMissing !== "") return;
  own = await startOwnBackends();
  const now = new Date();
  for (let ago = 1; ago <= 6; ago++) {
    const month = (back: number) =>
      new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back, 1));
    const name = month(ago).toISOString().slice(0, 7).replace("-", "_");
    const [first, next] = [month(ago), month(ago - 1)].map((at) => firstIdAt(at.getTime()));
    await own.query(
      `create table audit_logs_${name} partition of audit_logs for values from ('${first}') to ('${next}')`,
    );
  }
}, 120_000);
afterAll(async () => {
  if (searchMissing === "") await own.stop();
});
beforeEach(() => {
  tenant = `tenant-${++n}`;
  events = [];
});

/** Logs as they were stored so many days ago, a few in each millisecond, waiting in the outbox. */
async function storeOld(daysAgo: number, count: number, of = tenant): Promise<string[]> {
  await own.query("insert into tenants (id) values ($1) on conflict do nothing", [of]);
  const rows = await own.query<{ id: string }>(
    `with stored as (
      insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, metadata, before_state, after_state, targets)
      select audit_log_id(at, n), $1, at, at, 'test', 'a', 'INFO', 'user', 'r', '1', '{}', '{}', '{}', '[]'
      from (
        select n, date_trunc('milliseconds', $2::timestamptz + make_interval(secs => (n / 4) * 0.001)) as at
        from generate_series(0, $3 - 1) as n
      ) as times
      returning id
    ), outbox as (insert into pending_index (tenant_id, log_id) select $1, id from stored)
    select id from stored order by id`,
    [of, new Date(Date.now() - daysAgo * dayMs), count],
  );
  return rows.map((row) => row.id);
}

const runOf = (days: number, of = tenant): RetentionRun => ({
  tenantId: of,
  cutoff: Date.now() - days * dayMs,
  defaultDays: days,
  position: firstIdAt(0),
});

const remove = (days: number, most = 5_000, until = Infinity) =>
  removeOldLogs(own.db, runOf(days), until, { first: most, most });

const hits = z.object({ hits: z.object({ hits: z.array(z.object({ _id: z.string() })) }) });

async function documentsOf(of = tenant, index = "audit-logs"): Promise<string[]> {
  const { body } = await own.search.search({
    index,
    routing: of,
    ignore_unavailable: true,
    body: { size: 10_000, query: { term: { tenant_id: of } } },
  });
  return hits
    .parse(body)
    .hits.hits.map((hit) => hit._id)
    .toSorted();
}

const removals = () =>
  own.query<{ tenant_id: string; through_id: string; waits: boolean }>(
    "select tenant_id, through_id, waiting_since is not null as waits from index_removals where tenant_id = $1",
    [tenant],
  );

/** As if so much time had passed since the last logs were removed. */
const passTime = (seconds: number) =>
  own.query(
    `update index_removals set due_at = now(), raised_at = raised_at - make_interval(secs => $2)
     where tenant_id = $1`,
    [tenant, seconds],
  );

describe.skipIf(searchMissing !== "")(`an export that begins (skipped: ${searchMissing})`, () => {
  const insertExport = `
    insert into export_pipelines (tenant_id, id, format, compression, columns, filters, shown_filters, requested_by, created_at, upper_id)
    values ($1, gen_random_uuid(), 'csv', 'none', '["id"]', '{"from": null}', '{}', 'x', now(), first_id_at(now()))`;

  test("loses no log to a chunk that begins before its commit", async () => {
    const ids = await storeOld(100, 50);
    const client = await own.pool.connect();
    await client.query("begin");
    await client.query(insertExport, [tenant]);
    let isOver = false;
    const removed = remove(90).finally(() => {
      isOver = true;
    });
    await sleep(500);
    expect(isOver).toBe(false);
    await client.query("commit");
    client.release();
    expect(await removed).toMatchObject({ removed: 0, state: "waiting" });
    const left = await own.query("select id from audit_logs where tenant_id = $1", [tenant]);
    expect(left).toHaveLength(ids.length);
  });

  test("and a hold that is set, wait for a chunk that is under way", async () => {
    await storeOld(100, 10);
    const client = await own.pool.connect();
    await client.query("begin");
    await client.query("select lock_retention($1)", [tenant]);
    const over: string[] = [];
    const stored = own.query(insertExport, [tenant]).finally(() => over.push("export"));
    const hold = "update tenants set legal_hold = true where id = $1";
    const held = own.query(hold, [tenant]).finally(() => over.push("hold"));
    await sleep(300);
    expect(over).toEqual([]);
    await client.query("commit");
    client.release();
    await stored;
    await held;
    expect(await remove(90)).toMatchObject({ removed: 0, state: "held" });
  });

  test("is in every export that begins while chunks follow each other: none sees a log go", async () => {
    await storeOld(100, 4_000);
    let removing: Promise<unknown> = remove(90, 20);
    const seen: { atBegin: number; later: number }[] = [];
    for (let round = 0; round < 8; round++) {
      await sleep(10);
      await own.query(insertExport, [tenant]);
      const count = async () =>
        Number(
          (
            await own.query<{ n: number }>(
              "select count(*)::int as n from audit_logs where tenant_id = $1",
              [tenant],
            )
          )[0]?.n,
        );
      const atBegin = await count();
      await sleep(60);
      seen.push({ atBegin, later: await count() });
      await own.query("update export_pipelines set status = 'DONE' where tenant_id = $1", [tenant]);
      await removing;
      removing = remove(90, 20);
    }
    expect(seen.filter(({ atBegin, later }) => atBegin !== later)).toEqual([]);
    expect(seen[0]?.atBegin).toBeGreaterThan(0);
    await removing;
  });
});

describe.skipIf(searchMissing !== "")(`what was removed (skipped: ${searchMissing})`, () => {
  test("is recorded by one of those that end the run at once", async () => {
    await storeOld(100, 5);
    const run = runOf(90);
    await own.query(
      `insert into retention_runs (tenant_id, cutoff, fallback_days, due_at)
       values ($1, to_timestamp($2::bigint / 1000.0), 90, 'infinity')`,
      [tenant, run.cutoff],
    );
    await removeOldLogs(own.db, run, Infinity);
    const client = await own.pool.connect();
    await client.query("begin");
    await client.query("select 1 from retention_runs where tenant_id = $1 for update", [tenant]);
    const ends = [1, 2, 3].map(() => settleRun(own.db, run, "done"));
    await sleep(500);
    await client.query("commit");
    client.release();
    const ids = (await Promise.all(ends)).filter((id) => id !== undefined);
    const logs = await own.query(
      "select id, metadata ->> 'removed' as removed from audit_logs where tenant_id = $1",
      [tenant],
    );
    expect(logs).toEqual([{ id: ids[0], removed: "5" }]);
  });
});

describe.skipIf(searchMissing !== "")(`OpenSearch (skipped: ${searchMissing})`, () => {
  test("loses what Postgres has lost, of that tenant alone, to the log", async () => {
    const other = `${tenant}-other`;
    const old = await storeOld(100, 30);
    const others = await storeOld(100, 30, other);
    const kept = await storeOld(80, 5);
    await emptyOutbox(own);
    // 10 logs go, and those of the same millisecond as the tenth stay.
    expect(await remove(90, 10, 0)).toMatchObject({ removed: 10, state: "more" });
    expect(idTime(String(old[9]))).toBe(idTime(String(old[10])));
    await removeFromSearch(own.db, own.search, logger);
    expect(await documentsOf()).toEqual([...old.slice(10), ...kept]);

    expect(await remove(90)).toMatchObject({ removed: 20, state: "done" });
    await removeFromSearch(own.db, own.search, logger);
    expect(await documentsOf()).toEqual(kept);
    expect(await documentsOf(other)).toEqual(others);
  });

  test("loses it though it was down then, and though there is more than a call removes", async () => {
    const old = await storeOld(100, 30);
    await emptyOutbox(own);
    const before = await readServiceFigures(own.db);
    await remove(90, 10);
    const down = connectSearch({ node: "http://127.0.0.1:9", auth: undefined }, 1_000);
    await expect(removeFromSearch(own.db, down, logger)).rejects.toThrow("fetch failed");
    expect(await documentsOf()).toEqual(old);
    const during = await readServiceFigures(own.db);
    expect(during.logsRemoved - before.logsRemoved).toBe(30);
    expect(during.indexRemovals.tenants - before.indexRemovals.tenants).toBe(1);
    expect(during.indexRemovals.oldestAgeSeconds).toBeGreaterThan(0);
    expect(await removals()).toEqual([{ tenant_id: tenant, through_id: old.at(-1), waits: true }]);
    await passTime(0);
    const limits = { runMs: 10_000, documentsPerCall: 7 };
    expect(await removeFromSearch(own.db, own.search, logger, limits)).toBe(30);
    expect(await documentsOf()).toEqual([]);
    expect(await removals()).toMatchObject([{ waits: false }]);
    expect((await readServiceFigures(own.db)).indexRemovals).toEqual(before.indexRemovals);
  });

  test("is asked again some minutes later, for what an indexer had read before", async () => {
    const [late = ""] = await storeOld(100, 1);
    const keys = [{ tenantId: tenant, logId: late }];
    // An indexer has read it, and takes its time.
    const [log] = await readPendingLogs(own.db, keys);
    if (!log) throw new Error("unreachable");
    await remove(90);
    await removeFromSearch(own.db, own.search, logger);
    const { indexLogs, refreshIndices, aliasesOf } = await import("../../search/index-logs.ts");
    await indexLogs(own.search, [log]);
    await refreshIndices(own.search, aliasesOf(log));
    expect(await documentsOf()).toEqual([late]);
    // Not due, and then found.
    await removeFromSearch(own.db, own.search, logger);
    expect(await documentsOf()).toEqual([late]);
    await passTime(lateWriteSeconds);
    expect(await removeFromSearch(own.db, own.search, logger)).toBe(1);
    expect(await documentsOf()).toEqual([]);
    expect(await removals()).toHaveLength(1);
    // Only once it found nothing it is over.
    await passTime(0);
    expect(await removeFromSearch(own.db, own.search, logger)).toBe(0);
    expect(await removals()).toEqual([]);
  });

  test("is not told that it is over by a pass that began too early", async () => {
    await storeOld(100, 3);
    await emptyOutbox(own);
    await remove(90);
    await removeFromSearch(own.db, own.search, logger);
    await passTime(lateWriteSeconds - 30);
    expect(await removeFromSearch(own.db, own.search, logger)).toBe(0);
    expect(await removals()).toHaveLength(1);
  });

  test("loses it in the new index of a month that is being reindexed too", async () => {
    const old = await storeOld(100, 5);
    await emptyOutbox(own);
    const month = idMonth(String(old[0]));
    const index = `audit-logs-${month}-9`;
    await own.search.indices.create({
      index,
      body: { aliases: { [`audit-logs-${month}-new`]: {} } },
    });
    for (const id of old)
      await own.search.index({
        index,
        id,
        routing: tenant,
        refresh: true,
        body: { id, tenant_id: tenant, created_at: new Date(idTime(id)).toISOString() },
      });
    expect(await documentsOf(tenant, index)).toEqual(old);
    await remove(90);
    await removeFromSearch(own.db, own.search, logger);
    expect(await documentsOf(tenant, index)).toEqual([]);
    await own.search.indices.delete({ index });
  });
});

describe.skipIf(searchMissing !== "")(`the comparison (skipped: ${searchMissing})`, () => {
  const compareAll = async () => {
    await own.query("delete from reconcile_progress where not holds_mark");
    const unfinished = "select 1 from reconcile_progress where finished_at is null";
    do await reconcile(own.db, own.search, logger);
    while ((await own.query(unfinished)).length > 0);
  };
  const repairs = () =>
    own.query("select part, value from service_counters where name = 'repairs' order by part");

  test("leaves what is about to leave the index to that, repairs what is not, and holds no mark back", async () => {
    const old = await storeOld(100, 40);
    const kept = await storeOld(99, 20);
    await emptyOutbox(own);
    const lost = String(kept[7]);
    await own.search.delete({
      index: `audit-logs-${idMonth(lost)}`,
      id: lost,
      routing: tenant,
      refresh: true,
    });
    const run = { ...runOf(90), cutoff: Date.now() - 99.5 * dayMs };
    await removeOldLogs(own.db, run, Infinity);
    await compareAll();
    expect(await repairs()).toEqual([{ part: "missing", value: "1" }]);
    expect((await documentsOf()).filter((id) => old.includes(id))).toEqual(old);
    await emptyOutbox(own);
    const mark = await readSettledMark(own.db, tenant);
    expect(mark.indexedThrough).toBe(mark.safeTime);
    await removeFromSearch(own.db, own.search, logger);
    await compareAll();
    expect(await repairs()).toEqual([{ part: "missing", value: "1" }]);
    expect(await documentsOf()).toEqual(kept);
  });
});

describe.skipIf(searchMissing !== "")(`the outbox (skipped: ${searchMissing})`, () => {
  test("forgets a row whose log is gone, so that the tenant's mark goes on", async () => {
    const [gone = ""] = await storeOld(100, 1);
    await remove(90);
    expect(await own.query("select 1 from pending_index where tenant_id = $1", [tenant])).toEqual(
      [],
    );
    // A repair that had seen the log puts it back a moment later.
    await own.query("insert into pending_index (tenant_id, log_id) values ($1, $2)", [
      tenant,
      gone,
    ]);
    expect((await readSettledMark(own.db, tenant)).indexedThrough).toBe(idTime(gone));
    expect(await readPendingLogs(own.db, [{ tenantId: tenant, logId: gone }])).toEqual([]);
    const mark = await readSettledMark(own.db, tenant);
    expect(mark.indexedThrough).toBe(mark.safeTime);
  });
});

describe.skipIf(searchMissing !== "")(`a chunk (skipped: ${searchMissing})`, () => {
  const explained = z.array(z.object({ "QUERY PLAN": z.string() }));

  test("asks once what must stay, and reads no log that it does not remove", async () => {
    await storeOld(100, 500);
    await own.query("analyze audit_logs");
    const explain = sql`explain (analyze, costs off, timing off) ${deleteOldest(runOf(90), 20)}`;
    const [{ rows }] = await asRetention(own.db, runOf(90), [own.db.execute(explain)]);
    const plan = explained
      .parse(rows)
      .map((row) => row["QUERY PLAN"])
      .join("\n");
    // What must stay, and where the chunk ends: each found once, however many logs and months there are.
    for (const part of ["InitPlan 1", "InitPlan 2"])
      expect(plan).toMatch(new RegExp(`^ *${part}\\n.*rows=1.* loops=1`, "m"));
    expect(plan).not.toContain("SubPlan");
    expect(plan).toMatch(/Index Scan (using|on) audit_logs_\d{4}_\d\d_pkey .*rows=20\.\d* loops=1/);
    expect(plan).not.toContain("Rows Removed by Filter");
    // Nor does it open a month that is younger.
    const thisMonth = new Date().toISOString().slice(0, 7).replace("-", "_");
    expect(plan).not.toContain(`audit_logs_${thisMonth}`);
  });
});
