import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { z } from "zod";
import { reconcile } from "../../consumers/maintenance/reconcile.ts";
import { readSettledMark } from "../../db/settled-mark.ts";
import { firstIdAt, idTime } from "../../events/ids.ts";
import { createLogger, type LogFields } from "../../platform/logger.ts";
import { indexDocument } from "../../search/index-logs.ts";
import "../provided.ts";
import {
  emptyOutbox,
  newLog,
  type OwnBackends,
  startOwnBackends,
  storeLogs,
} from "./own-backends.ts";

// Two databases and a machine that may do other things meanwhile.
vi.setConfig({ testTimeout: 120_000 });

const searchMissing = inject("searchMissing");
let own: OwnBackends;
let tenant = "";
let n = 0;
const month = new Date().toISOString().slice(0, 7).replace("-", ".");
const alias = `audit-logs-${month}`;
let events: LogFields[] = [];
const logger = {
  ...createLogger("test", "ERROR"),
  warning: (event: string, fields: LogFields = {}) => void events.push({ event, ...fields }),
  error: (event: string, fields: LogFields = {}) => void events.push({ event, ...fields }),
};

beforeAll(async () => {
  if (searchMissing === "") own = await startOwnBackends();
});
afterAll(async () => {
  if (searchMissing === "") await own.stop();
});
beforeEach(() => {
  tenant = `tenant-${++n}`;
});

/** Compares everything from the beginning, whatever was compared when: one run, or as many as it takes. */
async function compareAll(limits?: { runMs: number; maxWaiting: number }): Promise<void> {
  await own.query("delete from reconcile_progress where not holds_mark");
  await reconcile(own.db, own.search, logger, limits);
  if (limits) return;
  for (let run = 0; run < 50 && (await unfinished()) > 0; run++)
    await reconcile(own.db, own.search, logger);
}

async function unfinished(): Promise<number> {
  const text = "select 1 from reconcile_progress where finished_at is null and not holds_mark";
  return (await own.query(text)).length;
}

/** What the counters count during some work. */
async function repairsOf(work: () => Promise<void>): Promise<Record<string, number>> {
  const read = async () =>
    Object.fromEntries(
      (
        await own.query<{ part: string; value: string }>(
          "select part, value from service_counters where name = 'repairs'",
        )
      ).map(({ part, value }) => [part, Number(value)]),
    );
  const before = await read();
  events = [];
  await work();
  const after = await read();
  return Object.fromEntries(
    Object.entries(after)
      .map(([part, value]): [string, number] => [part, value - (before[part] ?? 0)])
      .filter(([, value]) => value > 0),
  );
}

const hits = z.object({
  hits: z.object({
    hits: z.array(z.object({ _id: z.string(), _source: z.record(z.string(), z.unknown()) })),
  }),
});

/** What a reader of a tenant finds, by id. */
async function documentsOf(tenantId: string): Promise<Map<string, Record<string, unknown>>> {
  const { body } = await own.search.search({
    index: "audit-logs",
    routing: tenantId,
    ignore_unavailable: true,
    body: { size: 10_000, query: { term: { tenant_id: tenantId } } },
  });
  return new Map(hits.parse(body).hits.hits.map((hit) => [hit._id, hit._source]));
}

async function storedAndIndexed(count: number): Promise<string[]> {
  const ids = await storeLogs(own.db, tenant, count);
  await emptyOutbox(own);
  return ids;
}

/** All is as it was, and a further run finds nothing. */
async function expectWhole(ids: string[]): Promise<void> {
  await emptyOutbox(own);
  const documents = await documentsOf(tenant);
  expect([...documents.keys()].toSorted()).toEqual(ids.toSorted());
  for (const [id, source] of documents) {
    expect(source).toMatchObject({ id, tenant_id: tenant, metadata: '{"n": 9007199254740993}' });
  }
  expect(await repairsOf(compareAll)).toEqual({});
  expect(events).toEqual([]);
}

describe.skipIf(searchMissing !== "")(`the comparison (skipped: ${searchMissing})`, () => {
  test("finds nothing where there is nothing to find", async () => {
    const ids = await storedAndIndexed(250);
    expect(await repairsOf(compareAll)).toEqual({});
    await expectWhole(ids);
  });

  test("puts logs back whose documents are gone, and readers are told until they are there", async () => {
    const ids = await storedAndIndexed(300);
    const lost = [ids[3], ids[150], ids[299]].map(String);
    for (const id of lost)
      await own.search.delete({ index: alias, id, routing: tenant, refresh: true });
    expect(await repairsOf(compareAll)).toEqual({ missing: 3 });
    expect(events).toMatchObject([
      { event: "repaired", tenant_id: tenant, missing: 3, extra: 0, different: 0 },
    ]);
    const mark = await readSettledMark(own.db, tenant);
    expect(mark.indexedThrough).toBe(idTime(String(lost[0])));
    await expectWhole(ids);
  });

  test("finds one lost log among many, by cutting the slice", async () => {
    const ids = await storedAndIndexed(3_000);
    await own.search.delete({
      index: alias,
      id: String(ids[2_321]),
      routing: tenant,
      refresh: true,
    });
    expect(await repairsOf(compareAll)).toEqual({ missing: 1 });
    await expectWhole(ids);
  });

  test("writes again what differs: its content, its time, or the number that sums are made of", async () => {
    const ids = await storedAndIndexed(10);
    const change = (id: string | undefined, doc: object) =>
      own.search.update({
        index: alias,
        id: String(id),
        routing: tenant,
        refresh: true,
        body: { doc },
      });
    await change(ids[0], { action: "changed" });
    await change(ids[1], { created_at: "2026-01-01T00:00:00.000Z" });
    await change(ids[2], { created_at: "2199-01-01T00:00:00.000Z" });
    await change(ids[3], { check: 1 });
    // The stored fields as they were: but what searches need, and _source does not keep, is lost.
    await change(ids[4], { session_id: "x" });
    await change(ids[4], { session_id: null });
    const counts = await repairsOf(compareAll);
    // A document of another time is missing in its own slice as well: the first to find it repairs it.
    expect((counts["different"] ?? 0) + (counts["missing"] ?? 0)).toBe(5);
    await expectWhole(ids);
    const { body } = await own.search.search({
      index: "audit-logs",
      routing: tenant,
      body: {
        query: {
          bool: {
            filter: [{ term: { tenant_id: tenant } }, { match: { text: "9007199254740993" } }],
          },
        },
      },
    });
    expect(hits.parse(body).hits.hits).toHaveLength(10);
  });

  test("deletes documents of no log, of another tenant's log, and of another month's index", async () => {
    const ids = await storedAndIndexed(20);
    const other = `${tenant}-other`;
    const otherIds = await storeLogs(own.db, other, 3);
    await emptyOutbox(own);
    const write = async (index: string, id: string, fields: object, routing = tenant) => {
      const source = (await documentsOf(tenant)).get(String(ids[0]));
      const body = { ...source, id, tenant_id: tenant, ...fields };
      await own.search.index({ index, id, routing, refresh: true, body });
    };
    const made = firstIdAt(Date.now() - 60_000).replace("-0000-0000-", "-7000-8000-");
    await write(alias, made, { created_at: new Date(idTime(made)).toISOString() });
    await write(alias, "no-uuid", { created_at: new Date().toISOString() });
    await write(alias, "no-time", { created_at: null });
    // The log of another tenant under this one's name: it is taken from the one, and given back to the other.
    await write(alias, String(otherIds[0]), {
      created_at: new Date(idTime(String(otherIds[0]))).toISOString(),
    });
    await own.search.indices.create({
      index: "audit-logs-2020.01-1",
      body: { aliases: { "audit-logs": {} } },
    });
    await write("audit-logs-2020.01-1", String(ids[5]), {
      created_at: new Date(idTime(String(ids[5]))).toISOString(),
    });

    const counts = await repairsOf(compareAll);
    expect(counts).toEqual({ extra: 5, missing: 1 });
    await emptyOutbox(own);
    expect([...(await documentsOf(other)).keys()].toSorted()).toEqual(otherIds.toSorted());
    await expectWhole(ids);
    await own.search.indices.delete({ index: "audit-logs-2020.01-1" });
    await reconcile(own.db, own.search, logger);
  });

  test("leaves alone what the outbox owns, what the index can never take, and ids that have not come", async () => {
    const ids = await storedAndIndexed(5);
    const waiting = await storeLogs(own.db, tenant, 2);
    const [poisoned = ""] = await storeLogs(own.db, tenant, 1);
    await own.query("delete from pending_index where log_id = $1", [poisoned]);
    await own.query("insert into index_failures (tenant_id, log_id, reason) values ($1, $2, 'x')", [
      tenant,
      poisoned,
    ]);
    const coming = firstIdAt(Date.now() + 3_600_000).replace("-0000-0000-", "-7000-8000-");
    const source = (await documentsOf(tenant)).get(String(ids[0]));
    await own.search.index({
      index: alias,
      id: coming,
      routing: tenant,
      refresh: true,
      body: { ...source, id: coming, created_at: new Date(idTime(coming)).toISOString() },
    });
    expect(await repairsOf(compareAll)).toEqual({});
    expect((await documentsOf(tenant)).has(coming)).toBe(true);
    await own.search.delete({ index: alias, id: coming, routing: tenant, refresh: true });
    await emptyOutbox(own);
    await expectWhole([...ids, ...waiting]);
  });

  test("takes for lost no log that becomes searchable while ids are compared", async () => {
    const ids = await storedAndIndexed(5);
    await own.search.delete({ index: alias, id: String(ids[2]), routing: tenant, refresh: true });
    const coming = await storeLogs(own.db, tenant, 3);
    const search = own.search.child();
    const request = search.transport.request.bind(search.transport);
    Object.assign(search.transport, {
      // The moment after the documents were read is when the indexer brings what waited.
      request: async (...args: Parameters<typeof request>) => {
        const answer = await request(...args);
        if (JSON.stringify(args[0]).includes("docvalue_fields")) await emptyOutbox(own);
        return answer;
      },
    });
    await own.query("delete from reconcile_progress where not holds_mark");
    expect(await repairsOf(() => reconcile(own.db, search, logger))).toEqual({ missing: 1 });
    await expectWhole([...ids, ...coming]);
  });

  test("takes an index from before documents had a number to sum, and writes its documents again", async () => {
    const log = {
      ...newLog(),
      tenant_id: tenant,
      created_at: "",
      occurred_at: "",
      rev: 1,
    };
    const ids = await storedAndIndexed(3);
    for (const id of ids) {
      const created_at = new Date(idTime(id)).toISOString();
      const {
        check: _,
        rev: __,
        ...old
      } = z
        .record(z.string(), z.unknown())
        .parse(JSON.parse(indexDocument({ ...log, id, created_at, occurred_at: created_at })));
      await own.search.index({ index: alias, id, routing: tenant, refresh: true, body: old });
    }
    expect(await repairsOf(compareAll)).toEqual({ different: 3 });
    await expectWhole(ids);
  });
});

describe.skipIf(searchMissing !== "")(`an index that is lost (skipped: ${searchMissing})`, () => {
  test("is known at once, fills again at a bounded rate, and the mark never passes what is missing", async () => {
    const ids = await storedAndIndexed(1_000);
    await compareAll();
    await own.search.indices.delete({ index: `${alias}-1` });
    events = [];
    await reconcile(own.db, own.search, logger, { runMs: 10_000, maxWaiting: 300 });
    expect(events).toContainEqual({ event: "index_lost", month });
    expect((await own.query("select 1 from pending_index")).length).toBe(300);
    let runs = 1;
    for (; runs < 60; runs++) {
      // With an outbox that has nothing left, only the gap holds the mark back.
      for (const step of [async () => {}, () => emptyOutbox(own)]) {
        await step();
        const { indexedThrough } = await readSettledMark(own.db, tenant);
        const found = await documentsOf(tenant);
        const promised = ids.filter((id) => idTime(id) < indexedThrough);
        expect(promised.filter((id) => !found.has(id))).toEqual([]);
      }
      const { indexedThrough } = await readSettledMark(own.db, tenant);
      if (indexedThrough > idTime(ids.at(-1) ?? "")) break;
      await reconcile(own.db, own.search, logger, { runMs: 10_000, maxWaiting: 300 });
    }
    expect(runs).toBeGreaterThan(2);
    expect(runs).toBeLessThan(60);
    await expectWhole(ids);
  });

  test("holds back the mark of the tenant that it concerns alone, where a tenant lost more than a run repairs", async () => {
    const ids = await storedAndIndexed(400);
    await own.search.deleteByQuery({
      index: "audit-logs",
      routing: tenant,
      refresh: true,
      body: { query: { term: { tenant_id: tenant } } },
    });
    await compareAll({ runMs: 10_000, maxWaiting: 100 });
    expect(await own.query("select count(*)::int as n from pending_index")).toEqual([{ n: 100 }]);
    await emptyOutbox(own);
    // 300 are lost still, and none waits in the outbox.
    const { indexedThrough } = await readSettledMark(own.db, tenant);
    const found = await documentsOf(tenant);
    expect(found.size).toBe(100);
    expect(ids.filter((id) => idTime(id) < indexedThrough && !found.has(id))).toEqual([]);
    const other = await readSettledMark(own.db, "tenant-1");
    expect(other.indexedThrough).toBe(other.safeTime);
    for (let run = 0; run < 10; run++) {
      await compareAll({ runMs: 10_000, maxWaiting: 100 });
      await emptyOutbox(own);
    }
    await expectWhole(ids);
  });
});

test.skipIf(searchMissing !== "")(
  "a comparison while writes go on, whose commits come late, takes nothing for lost",
  async () => {
    // A new index does not answer for a moment.
    await storedAndIndexed(1);
    const isOver = { value: false };
    const tenants = Array.from({ length: 4 }, (_, at) => `${tenant}-${at}`);
    const writer = async (tenantId: string) => {
      while (!isOver.value) {
        const client = await own.pool.connect();
        try {
          await client.query("begin");
          await client.query("select lock_write()");
          await client.query(`insert into tenants (id) values ($1) on conflict do nothing`, [
            tenantId,
          ]);
          await client.query(
            `with stamp as materialized (select date_trunc('milliseconds', clock_timestamp()) as at),
           stored as (
             insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, metadata, before_state, after_state, targets)
             select audit_log_id(at, n), $1, at, at, 'test', 'a', 'INFO', 'user', 'r', '1', '{"n": 9007199254740993}', '{}', '{}', '[]'
             from stamp, generate_series(1, 5) as n returning id
           )
           insert into pending_index (tenant_id, log_id) select $1, id from stored`,
            [tenantId],
          );
          await client.query("select pg_sleep(random() * 0.08)");
          await client.query("commit");
        } finally {
          client.release();
        }
      }
    };
    const indexer = async () => {
      while (!isOver.value) {
        await emptyOutbox(own);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    const working = Promise.all([...tenants, ...tenants].map(writer).concat(indexer()));
    let runs = 0;
    try {
      const until = Date.now() + 12_000;
      const counts = await repairsOf(async () => {
        for (; Date.now() < until; runs++) {
          await own.query("delete from reconcile_progress where not holds_mark");
          await reconcile(own.db, own.search, logger);
        }
      });
      expect(counts).toEqual({});
    } finally {
      isOver.value = true;
      await working;
    }
    expect(runs).toBeGreaterThan(2);
    await emptyOutbox(own);
    for (const one of tenants) {
      const [row] = await own.query<{ n: number }>(
        "select count(*)::int as n from audit_logs where tenant_id = $1",
        [one],
      );
      expect((await documentsOf(one)).size).toBe(row?.n);
      expect(row?.n).toBeGreaterThan(50);
    }
  },
);
