import type { Client } from "@opensearch-project/opensearch";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { z } from "zod";
import { reconcile } from "../../consumers/maintenance/reconcile.ts";
import { reindex } from "../../consumers/maintenance/reindex.ts";
import type { Database } from "../../db/client.ts";
import { cancelReindex, listReindexes, requestReindex } from "../../db/reindexes.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { writeLogs } from "../../db/write-logs.ts";
import { idTime } from "../../events/ids.ts";
import { createLogger } from "../../platform/logger.ts";
import "../provided.ts";
import {
  emptyOutbox,
  newLog,
  type OwnBackends,
  startOwnBackends,
  storeLogs,
} from "./own-backends.ts";

// Two databases and a machine that may do other things meanwhile.
vi.setConfig({ testTimeout: 240_000 });

const searchMissing = inject("searchMissing");
let own: OwnBackends;
const logger = createLogger("test", "ERROR");
const month = new Date().toISOString().slice(0, 7).replace("-", ".");
const alias = `audit-logs-${month}`;
const limits = { runMs: 2_000, graceSeconds: 0.5 };

beforeAll(async () => {
  if (searchMissing === "") own = await startOwnBackends();
});
afterAll(async () => {
  if (searchMissing === "") await own.stop();
});

const stateOf = async (wanted = month) =>
  (await listReindexes(own.db)).find((row) => row.month === wanted);

/** Runs as the cron does until the month is over, with the indexer after each run, or another beside it. */
async function runAll(
  db: Database = own.db,
  search: Client = own.search,
  index = () => emptyOutbox(own),
): Promise<number> {
  const over = ["DONE", "CANCELLED", "FAILED"];
  for (let run = 1; run < 400; run++) {
    // Whatever ends a run, the next one goes on.
    await reindex(db, search, logger, limits).catch(() => {});
    await index();
    if (over.includes((await stateOf())?.state ?? "")) return run;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`It does not end: ${JSON.stringify(await stateOf())}`);
}

const hits = z.object({ hits: z.object({ hits: z.array(z.object({ _id: z.string() })) }) });

/** The ids that a reader of a tenant finds, each as often as it is found. */
async function found(tenantId: string, filter: object[] = []): Promise<string[]> {
  const { body } = await own.search.search({
    index: "audit-logs",
    routing: tenantId,
    ignore_unavailable: true,
    allow_partial_search_results: false,
    body: {
      size: 10_000,
      _source: false,
      query: { bool: { filter: [{ term: { tenant_id: tenantId } }, ...filter] } },
    },
  });
  return hits.parse(body).hits.hits.map((hit) => hit._id);
}

async function indicesAndAliases(): Promise<Record<string, string[]>> {
  const { body } = await own.search.indices.getAlias({ index: `${alias}-*` });
  return Object.fromEntries(
    Object.entries(
      z.record(z.string(), z.object({ aliases: z.record(z.string(), z.unknown()) })).parse(body),
    ).map(([index, { aliases }]) => [index, Object.keys(aliases).toSorted()]),
  );
}

/** Nothing is missing, twice or different: the comparison of all there is finds nothing. */
async function expectEqual(): Promise<void> {
  await own.query("delete from reconcile_progress");
  await own.query("delete from service_counters");
  for (let run = 0; run < 20; run++) await reconcile(own.db, own.search, logger);
  expect(
    await own.query("select part, value from service_counters where name = 'repairs'"),
  ).toEqual([]);
}

type Reader = { searches: number; wrong: string[] };

/** Writes, commits late, indexes and searches until it is told to stop. */
function busyService(tenants: string[]) {
  const isOver = { value: false };
  const acknowledged = new Map(tenants.map((tenant): [string, string[]] => [tenant, []]));
  const reader: Reader = { searches: 0, wrong: [] };
  const write = async (tenantId: string) => {
    while (!isOver.value) {
      const scope = { tenantId, userId: null };
      const stored = await writeLogs(own.db, scope, [newLog(), newLog(), newLog()]);
      acknowledged.get(tenantId)?.push(...stored.map((log) => log.id));
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
  };
  const writeSlowly = async (tenantId: string) => {
    while (!isOver.value) {
      const client = await own.pool.connect();
      try {
        await client.query("begin");
        await client.query("select lock_write()");
        const { rows } = await client.query<{ id: string }>(
          `with stamp as materialized (select date_trunc('milliseconds', clock_timestamp()) as at),
           stored as (
             insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, metadata, before_state, after_state, targets)
             select audit_log_id(at, 1), $1, at, at, 'test', 'a', 'INFO', 'user', 'r', '1', '{}', '{}', '{}', '[]' from stamp returning id
           ), outbox as (
             insert into pending_index (tenant_id, log_id) select $1, id from stored
           ) select id from stored`,
          [tenantId],
        );
        await client.query("select pg_sleep(random() * 0.3)");
        await client.query("commit");
        acknowledged.get(tenantId)?.push(...rows.map((row) => row.id));
      } finally {
        client.release();
      }
    }
  };
  const index = async () => {
    while (!isOver.value) {
      await emptyOutbox(own);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  };
  const read = async (tenantId: string) => {
    while (!isOver.value) {
      const known = [...(acknowledged.get(tenantId) ?? [])];
      const { indexedThrough } = await readSettledMark(own.db, tenantId);
      const ids = await found(tenantId);
      reader.searches++;
      const once = new Set(ids);
      if (once.size !== ids.length) reader.wrong.push(`${ids.length - once.size} twice`);
      const missing = known.filter((id) => idTime(id) < indexedThrough && !once.has(id));
      if (missing.length > 0) reader.wrong.push(`${missing.length} missing`);
    }
  };
  const working = Promise.all([
    ...tenants.flatMap((tenant) => [write(tenant), writeSlowly(tenant), read(tenant)]),
    index(),
  ]);
  return {
    acknowledged,
    reader,
    async stop() {
      isOver.value = true;
      await working;
      await emptyOutbox(own);
    },
  };
}

/** The same clients, whose calls end with an error now and then, before or after they were done. */
function deadlyClients(every: number): { db: Database; search: Client; kills: () => number } {
  let kills = 0;
  const deadly =
    <A extends unknown[], R>(call: (...args: A) => Promise<R>) =>
    async (...args: A): Promise<R> => {
      const isDeadly = Math.random() < 1 / every;
      if (isDeadly) kills++;
      if (isDeadly && Math.random() < 0.5) throw new Error("killed before the call");
      const answer = await call(...args);
      if (isDeadly) throw new Error("killed after the call");
      return answer;
    };
  const search = own.search.child();
  const request = search.transport.request.bind(search.transport);
  Object.assign(search.transport, {
    request: deadly(request as (...args: unknown[]) => Promise<unknown>),
  });
  const db = Object.create(own.db) as Database;
  Object.assign(db, {
    batch: deadly(own.db.batch.bind(own.db) as (...args: unknown[]) => Promise<unknown>),
  });
  return { db, search, kills: () => kills };
}

describe.skipIf(searchMissing !== "")(`a reindex (skipped: ${searchMissing})`, () => {
  test("brings a new mapping to old logs, and leaves one index with the month's aliases", async () => {
    // As an older version would have made it: it knows no outcome, and its documents have no check.
    await own.search.indices.create({
      index: `${alias}-1`,
      body: {
        mappings: {
          dynamic: false,
          _routing: { required: true },
          properties: {
            id: { type: "keyword" },
            tenant_id: { type: "keyword" },
            created_at: { type: "date" },
          },
        },
        aliases: { "audit-logs": {}, [alias]: {} },
      },
    });
    const ids = await storeLogs(own.db, "old", 2_500);
    const denied = await writeLogs(own.db, { tenantId: "old", userId: null }, [
      newLog({ outcome: "denied" }),
    ]);
    await emptyOutbox(own);
    const byOutcome = [{ term: { outcome: "denied" } }];
    expect(await found("old", byOutcome)).toEqual([]);

    expect((await requestReindex(own.db, month, "alice")).named).toBe(1);
    await runAll();
    expect(await stateOf()).toMatchObject({
      state: "DONE",
      logsCopied: 2_501,
      logsTotal: 2_501,
      error: null,
    });
    expect(await found("old", byOutcome)).toEqual((denied ?? []).map((log) => log.id));
    expect(await found("old")).toHaveLength(ids.length + 1);
    expect(await indicesAndAliases()).toEqual({ [`${alias}-2`]: ["audit-logs", alias] });
    await expectEqual();
  });

  test("misses no log and shows none twice, while logs are written and searched, and it is killed again and again", async () => {
    const tenants = ["busy-1", "busy-2"];
    for (const tenant of tenants) await storeLogs(own.db, tenant, 1_000);
    await emptyOutbox(own);
    const service = busyService(tenants);
    let kills = 0;
    try {
      for (let round = 0; round < 2; round++) {
        await requestReindex(own.db, month, "alice");
        const deadly = deadlyClients(15);
        await runAll(deadly.db, deadly.search, async () => {});
        kills += deadly.kills();
        expect(await stateOf()).toMatchObject({ state: "DONE" });
      }
    } finally {
      await service.stop();
    }
    expect(service.reader.wrong).toEqual([]);
    expect(service.reader.searches).toBeGreaterThan(20);
    expect(kills).toBeGreaterThan(2);
    for (const tenant of tenants) {
      const ids = await found(tenant);
      expect(new Set(ids).size).toBe(ids.length);
      for (const id of service.acknowledged.get(tenant) ?? []) expect(ids).toContain(id);
    }
    const indices = await indicesAndAliases();
    expect(Object.values(indices).filter((aliases) => aliases.length > 0)).toEqual([
      ["audit-logs", alias],
    ]);
    expect(Object.keys(indices)).toHaveLength(1);
    await expectEqual();
  });

  test("can be given up before the swap: the old index stays, the new one goes", async () => {
    const before = await indicesAndAliases();
    await requestReindex(own.db, month, "alice");
    await reindex(own.db, own.search, logger, { runMs: 1, graceSeconds: 60 });
    expect(await stateOf()).toMatchObject({ state: "COPYING" });
    expect(Object.keys(await indicesAndAliases())).toHaveLength(2);
    const [id] = await storeLogs(own.db, "given-up", 1);
    await emptyOutbox(own);
    expect(await found("given-up")).toEqual([id]);
    expect((await cancelReindex(own.db, month)).changed).toBe(true);
    await runAll();
    expect(await stateOf()).toMatchObject({ state: "CANCELLED" });
    expect(await indicesAndAliases()).toEqual(before);
    expect((await cancelReindex(own.db, month)).changed).toBe(false);
    await storeLogs(own.db, "given-up", 1);
    await emptyOutbox(own);
    expect(await found("given-up")).toHaveLength(2);
  });

  test("fails, and keeps the old index, where the new one cannot take a log that the old one has", async () => {
    await writeLogs(own.db, { tenantId: "odd", userId: null }, [newLog({ user_id: "no number" })]);
    await emptyOutbox(own);
    await own.search.indices.putIndexTemplate({
      name: "audit-logs-too-strict",
      body: {
        index_patterns: ["audit-logs-*"],
        priority: 500,
        template: {
          mappings: {
            dynamic: false,
            _routing: { required: true },
            properties: { user_id: { type: "long" } },
          },
        },
      },
    });
    const before = await indicesAndAliases();
    await requestReindex(own.db, month, "alice");
    await runAll();
    expect(await stateOf()).toMatchObject({
      state: "FAILED",
      error: expect.stringContaining("mapper_parsing_exception"),
    });
    expect(await indicesAndAliases()).toEqual(before);
    expect(await found("odd")).toHaveLength(1);
    await own.search.indices.deleteIndexTemplate({ name: "audit-logs-too-strict" });
    await requestReindex(own.db, month, "alice");
    await runAll();
    expect(await stateOf()).toMatchObject({ state: "DONE", error: null });
  });

  test("begins again where one of the two indices is deleted meanwhile", async () => {
    await requestReindex(own.db, month, "alice");
    await reindex(own.db, own.search, logger, { runMs: 1, graceSeconds: 60 });
    const { targetIndex } = (await stateOf()) ?? {};
    await own.search.indices.delete({ index: targetIndex ?? "" });
    await runAll();
    expect(await stateOf()).toMatchObject({ state: "DONE" });
    await expectEqual();
  });

  test("of every month that has begun ends at once where there is nothing, and refuses a month that has not", async () => {
    const { named } = await requestReindex(own.db, undefined, "alice");
    expect(named).toBe(1);
    await runAll();
    expect((await requestReindex(own.db, "2199.01", "alice")).named).toBe(0);
  });

  test("fills a lost index faster than the outbox would", async () => {
    const [{ n: stored } = { n: 0 }] = await own.query<{ n: number }>(
      "select count(*)::int as n from audit_logs",
    );
    await reconcile(own.db, own.search, logger);
    await own.search.indices.delete({ index: Object.keys(await indicesAndAliases()) });
    await requestReindex(own.db, month, "alice");
    await runAll();
    const { body } = await own.search.count({ index: "audit-logs" });
    expect(body.count).toBe(stored);
    await expectEqual();
  });
});
