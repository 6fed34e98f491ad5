import { env, runInDurableObject } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, beforeAll, describe, expect, inject, test, vi } from "vitest";
import type { QueuePoller } from "../../consumers/poll-queue.ts";
import { readServiceFigures } from "../../db/counters.ts";
import { deleteOutboxRows, recordIndexFailure } from "../../db/outbox.ts";
import { parseConfig } from "../../platform/config.ts";
import { metrics } from "../../platform/metric-names.ts";
import { metricsText } from "../../worker/operations/metrics-text.ts";
import { callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { exported } from "./export-calls.ts";
import { newQueue, sqs } from "./queues.ts";
import { nowhere, searchMissing, workerEnv, workers, workersWith } from "./tools.ts";
import type { MetricsSnapshot } from "../../worker/operations/metrics-snapshot.ts";

type Poller = QueuePoller & Rpc.DurableObjectBranded;
const bindings = env as unknown as {
  METRICS: DurableObjectNamespace<MetricsSnapshot>;
  LOG_POLLER: DurableObjectNamespace<Poller>;
  EXPORT_POLLER: DurableObjectNamespace<Poller>;
};
const databaseUrl = inject("quietDatabaseUrl");
const promlint = inject("promlint");
const lintMissing = "missing" in promlint ? promlint.missing : "";
const token = workerEnv["METRICS_TOKEN"] ?? "";
const minute = 60_000;

/** The samples of a scrape: `name{labels}` and the value. */
function valuesOf(text: string): Record<string, number> {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.lastIndexOf(" ");
      return [line.slice(0, at), Number(line.slice(at + 1))];
    }),
  );
}

/** A deployment of a test's own: its queues, its pollers, and a database in which nothing else happens. */
async function newDeployment() {
  const [log, exports] = [await newQueue(), await newQueue()];
  const changes = {
    DATABASE_URL: databaseUrl,
    SQS_LOG_QUEUE_URL: log.url,
    SQS_EXPORT_QUEUE_URL: exports.url,
  };
  const configured = async (stub: DurableObjectStub<Poller>) => {
    await runInDurableObject(stub, (poller) =>
      Object.assign(poller, { config: parseConfig({ ...env, ...changes }) }),
    );
    return stub;
  };
  const logPoller = await configured(bindings.LOG_POLLER.getByName(crypto.randomUUID()));
  const exportPoller = await configured(bindings.EXPORT_POLLER.getByName(crypto.randomUUID()));
  return {
    log,
    logPoller,
    exportPoller,
    callerWith: (more: Record<string, string> = {}, tenant = newTenant()) =>
      callerOf(workersWith({ ...changes, ...more }), { tenant_id: tenant }),
    /** What a scrape shows that no earlier one has read for it. */
    scrape: async (more: Record<string, string> = {}) => {
      const stub = bindings.METRICS.getByName(crypto.randomUUID());
      const config = parseConfig({ ...env, ...changes, ...more });
      const text = await runInDurableObject(stub, (snapshot) => {
        Object.assign(snapshot, { config });
        return snapshot.scrape();
      });
      return { text, values: valuesOf(text) };
    },
    snapshot: () => bindings.METRICS.getByName(crypto.randomUUID()),
    changes,
  };
}

beforeAll(() => {
  vi.spyOn(console, "error").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("GET /metrics", () => {
  const get = (authorization?: string, target = workers) =>
    target.fetch("/metrics", authorization ? { headers: { Authorization: authorization } } : {});

  test("is Prometheus text for who has the token, also for many at the same time", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => get(`Bearer ${token}`)));
    for (const answer of answers) {
      expect(answer.status).toBe(200);
      expect(answer.headers.get("Content-Type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      expect(answer.headers.get("Cache-Control")).toBe("no-store");
      expect(await answer.text()).toContain("audit_log_outbox_logs ");
    }
    expect((await get(`Bearer ${token}`, workers)).status).toBe(200);
  });

  test.each([undefined, "Bearer wrong", `Bearer ${token}x`, `Basic ${token}`, token])(
    "is 401 for %j",
    async (authorization) => {
      const answer = await get(authorization);
      expect(answer.status).toBe(401);
      expect(answer.headers.get("WWW-Authenticate")).toMatch(/^Bearer/);
      expect(await answer.text()).not.toContain("audit_log_");
    },
  );

  test("is not for a user's token, whatever its role", async () => {
    const admin = callerOf(workers, { role: "platform_admin" });
    expectProblem(await admin.get("/metrics"), 401, "unauthenticated");
  });

  test.each([undefined, "too short"])(
    "is 503 where the token is %j, and nothing else stops",
    async (value) => {
      vi.spyOn(console, "error").mockImplementation(() => {});
      const target = workersWith({ METRICS_TOKEN: value });
      const answer = await get(`Bearer ${value}`, target);
      expect(answer.status).toBe(503);
      expect(await answer.json()).toMatchObject({ code: "misconfigured" });
      await callerOf(target, { tenant_id: newTenant() }).create();
    },
  );
});

test("the text escapes what a label and a help may hold", () => {
  const value = 'a"b\\c\nd';
  const labels = { version: value };
  const text = metricsText([{ name: "audit_log_build_info", labels, value: 1 }]);
  expect(text).toContain(String.raw`audit_log_build_info{version="a\"b\\c\nd"} 1`);
});

describe.skipIf(lintMissing !== "")(`Prometheus' linter (skipped: ${lintMissing})`, () => {
  const lint = async (text: string) => {
    const url = "url" in promlint ? promlint.url : "";
    const answer = await fetch(url, { method: "POST", body: text });
    const said = await answer.text();
    if (!answer.ok) throw new Error(said);
    return said;
  };

  test("finds nothing wrong with a scrape", { timeout: 120_000 }, async () => {
    const { text } = await (await newDeployment()).scrape();
    expect(text.length).toBeGreaterThan(1_000);
    expect(await lint(text)).toBe("");
    // It would say so.
    expect(await lint("# TYPE logs_total gauge\nlogs_total 1\n")).toContain("logs_total");
  });
});

describe.skipIf(searchMissing !== "")(`the figures (skipped: ${searchMissing})`, () => {
  const counted = (before: Record<string, number>, after: Record<string, number>) => {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
    return Object.fromEntries(
      names
        .filter((name) => /_total/.test(name) && before[name] !== after[name])
        .map((name) => [name, (after[name] ?? 0) - (before[name] ?? 0)]),
    );
  };

  test("show every metric of the list", async () => {
    const { values } = await (await newDeployment()).scrape();
    const shown = new Set(Object.keys(values).map((name) => name.replace(/\{.*/, "")));
    expect(Object.keys(metrics).filter((name) => !shown.has(name))).toEqual([]);
    const parts = Object.entries(values).filter(([name]) => name.startsWith("audit_log_part_up"));
    expect(parts.map(([, value]) => value)).toEqual([1, 1, 1, 1, 1]);
    expect(values['audit_log_exports{status="CANCELLED"}']).toBe(0);
  });

  test("count logs stored and indexed, exports, degraded searches and dead letters as they happened", async () => {
    const { log, logPoller, exportPoller, callerWith, scrape } = await newDeployment();
    const { values: before } = await scrape();
    const tenant = newTenant();
    const caller = callerWith({}, tenant);
    await caller.createAll(Array.from({ length: 5 }, () => entry()));
    await caller.create();
    await caller.create();
    const stored = await scrape();
    expect(counted(before, stored.values)).toEqual({ audit_log_logs_stored_total: 7 });
    expect(stored.values).toMatchObject({
      audit_log_outbox_logs: 7,
      audit_log_backpressure: 0,
      'audit_log_queue_messages{queue="log"}': 3,
      'audit_log_queue_messages{queue="export"}': 0,
    });
    const age = stored.values["audit_log_outbox_oldest_age_seconds"] ?? 0;
    expect(age).toBeGreaterThan(0);
    expect(age).toBeLessThan(10);
    expect(stored.values["audit_log_index_lag_seconds"]).toBeGreaterThanOrEqual(age);

    await sqs.send(log.url, [{ body: "no message", groupId: "g" }]);
    await logPoller.wake();
    await caller.settled();
    await vi.waitFor(async () => expect((await sqs.depth(log.deadLetters)).waiting).toBe(1), 5_000);

    // Until the month has its index, a list may be degraded by itself.
    const { values: settled } = await scrape();
    expect(counted(stored.values, settled)).toMatchObject({ audit_log_logs_indexed_total: 7 });
    const degraded = callerWith({ OPENSEARCH_HOST: nowhere }, tenant);
    for (const _ of [1, 2]) expect((await degraded.list()).source).toBe("postgres");
    await degraded.get("/api/v1/logs/stats");
    await Promise.all([1, 2, 3].map(() => degraded.list()));

    await exportPoller.wake();
    const { done, text: file } = await exported(caller);
    expect(done.rows_exported).toBe(7);

    await caller.settled();
    const { values: after } = await scrape();
    expect(counted(settled, after)).toEqual({
      // That the export was started, and that links to it were given.
      audit_log_logs_stored_total: 2,
      audit_log_logs_indexed_total: 2,
      audit_log_degraded_searches_total: 6,
      audit_log_export_rows_total: 7,
      audit_log_export_bytes_total: new TextEncoder().encode(file).byteLength,
    });
    expect(after).toMatchObject({
      audit_log_outbox_logs: 0,
      audit_log_outbox_oldest_age_seconds: 0,
      'audit_log_dead_letters{queue="log"}': 1,
      'audit_log_dead_letters{queue="export"}': 0,
      'audit_log_exports{status="DONE"}': (before['audit_log_exports{status="DONE"}'] ?? 0) + 1,
    });
    expect(after["audit_log_index_lag_seconds"]).toBeLessThan(2);
  });

  test("count a log as stored once, whatever way it takes through the outbox", async () => {
    const { callerWith, scrape } = await newDeployment();
    const { values: before } = await scrape();
    const tenant = newTenant();
    const silent = callerWith({ SQS_ENDPOINT: nowhere }, tenant);
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const [bad = "", good = ""] = await silent.createAll([entry(), entry()]);
    const db = ownerOf(databaseUrl);
    const row = (logId: string) => ({ tenantId: tenant, logId, rev: 1 });
    await recordIndexFailure(db, row(bad), "for the test");
    // A second indexer with the same message finds the row gone, and counts nothing.
    await recordIndexFailure(db, row(bad), "for the test");
    await deleteOutboxRows(db, [row(good)]);
    await deleteOutboxRows(db, [row(good)]);
    const { values: failed } = await scrape();
    expect(counted(before, failed)).toEqual({
      audit_log_logs_stored_total: 2,
      audit_log_logs_indexed_total: 1,
    });
    const unsearchable = before["audit_log_unsearchable_logs"] ?? 0;
    expect(failed["audit_log_unsearchable_logs"]).toBe(unsearchable + 1);
    // As a redrive and a repair put them back.
    for (const id of [bad, good])
      await rowsOf(
        sql`insert into pending_index (tenant_id, log_id) values (${tenant}, ${id})`,
        databaseUrl,
      );
    await rowsOf(sql`delete from index_failures where tenant_id = ${tenant}`, databaseUrl);
    expect(counted(failed, (await scrape()).values)).toEqual({});
    await deleteOutboxRows(db, [row(bad), row(good)]);
    expect(counted(failed, (await scrape()).values)).toEqual({ audit_log_logs_indexed_total: 2 });
  });

  test("never count a log twice or not at all while it leaves the outbox", async () => {
    const { callerWith } = await newDeployment();
    const tenant = newTenant();
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const silent = callerWith({ SQS_ENDPOINT: nowhere }, tenant);
    const ids = await silent.createAll(Array.from({ length: 100 }, () => entry()));
    const db = ownerOf(databaseUrl);
    const { logsStored } = await readServiceFigures(db);
    const under = { way: true };
    const seen: number[] = [];
    const watch = async () => {
      while (under.way) seen.push((await readServiceFigures(db)).logsStored);
    };
    const leave = async () => {
      const gone = ids.map((logId) => deleteOutboxRows(db, [{ tenantId: tenant, logId, rev: 1 }]));
      await Promise.all(gone);
      under.way = false;
    };
    await Promise.all([watch(), watch(), leave()]);
    expect(seen.length).toBeGreaterThan(3);
    expect(new Set(seen)).toEqual(new Set([logsStored]));
  });
});

describe("a part that does not answer", () => {
  beforeAll(() => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
  });
  const hanging = inject("hangingUrl");

  test.each([
    ["SQS", { SQS_ENDPOINT: nowhere }],
    ["SQS that hangs", { SQS_ENDPOINT: hanging }],
  ])("leaves its metrics out: %s", async (_name, changes) => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const { values } = await (await newDeployment()).scrape(changes);
    expect(Object.keys(values).filter((name) => /queue_messages|dead_letters/.test(name))).toEqual(
      [],
    );
    expect(values).toMatchObject({
      'audit_log_part_up{part="log_queue"}': 0,
      'audit_log_part_up{part="export_queue"}': 0,
      'audit_log_part_up{part="database"}': 1,
      audit_log_outbox_logs: expect.any(Number),
    });
  });

  test.each([
    ["the database", nowhere],
    ["a database that hangs", hanging],
  ])("leaves its metrics out, and a scrape in time: %s", async (_name, url) => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const began = Date.now();
    const { values } = await (await newDeployment()).scrape({ NEON_FETCH_ENDPOINT: url });
    expect(Date.now() - began).toBeLessThan(9_000);
    expect(values).toMatchObject({
      'audit_log_part_up{part="database"}': 0,
      'audit_log_queue_messages{queue="log"}': 0,
    });
    expect(values["audit_log_logs_stored_total"]).toBeUndefined();
  });
});

describe("scrapes", () => {
  /** A snapshot whose pollers say this, and how often it asked the database. */
  async function watched(status: () => Promise<unknown>) {
    const deployment = await newDeployment();
    const stub = deployment.snapshot();
    const poller = { getByName: () => ({ status }) };
    const config = parseConfig({ ...env, ...deployment.changes });
    const fetch = vi.spyOn(globalThis, "fetch");
    vi.spyOn(console, "warn").mockImplementation(() => {});
    let now = Date.now();
    vi.spyOn(Date, "now").mockImplementation(() => now);
    await runInDurableObject(stub, (snapshot) =>
      Object.assign(snapshot, { config, env: { LOG_POLLER: poller, EXPORT_POLLER: poller } }),
    );
    const databaseCalls = () =>
      fetch.mock.calls.filter(
        ([url, init]) =>
          String(url).startsWith(workerEnv["NEON_FETCH_ENDPOINT"] ?? "x") &&
          // Pollers of other tests share the isolate, and have other roles.
          String(init?.body).includes('"audit_operator"'),
      ).length;
    return {
      ...deployment,
      databaseCalls,
      allCalls: () => fetch.mock.calls.length,
      pass: (ms: number) => void (now += ms),
      forget: () =>
        runInDurableObject(stub, (snapshot) => Object.assign(snapshot, { last: undefined })),
      scrape: () => runInDurableObject(stub, async (snapshot) => valuesOf(await snapshot.scrape())),
    };
  }
  const longAgo = async () => ({ pollers: 1, lastActivityAt: Date.now() - 11 * minute });

  test("at the same time, or within five seconds, ask once", async () => {
    const { scrape, pass, allCalls, databaseCalls } = await watched(longAgo);
    await Promise.all(Array.from({ length: 30 }, scrape));
    expect(databaseCalls()).toBe(1);
    const all = allCalls();
    pass(4_999);
    expect((await scrape())["audit_log_snapshot_age_seconds"]).toBeCloseTo(5, 1);
    expect(allCalls()).toBe(all);
  });

  test("leave the database alone for 15 minutes while nothing happens", async () => {
    const { scrape, pass, forget, databaseCalls } = await watched(longAgo);
    const first = await scrape();
    for (let scraped = 0; scraped < 14; scraped++) {
      pass(minute);
      // Between two scrapes the object is put away, and begins with what it has stored.
      await forget();
      const values = await scrape();
      expect(values["audit_log_snapshot_age_seconds"]).toBe((scraped + 1) * 60);
      expect(values["audit_log_logs_stored_total"]).toBe(first["audit_log_logs_stored_total"]);
      expect(values['audit_log_pollers{queue="log"}']).toBe(1);
    }
    expect(databaseCalls()).toBe(1);
    pass(minute);
    expect((await scrape())["audit_log_snapshot_age_seconds"]).toBe(0);
    expect(databaseCalls()).toBe(2);
  });

  test.each([
    ["a poller was at work", async () => ({ pollers: 1, lastActivityAt: Date.now() - 9 * minute })],
    ["a poller does not say", () => Promise.reject(new Error("no such method"))],
  ])("ask the database each time where %s", async (_name, status) => {
    const { scrape, pass, databaseCalls } = await watched(status);
    await scrape();
    pass(minute);
    await scrape();
    expect(databaseCalls()).toBe(2);
  });

  test("ask the database each time while a message waits", async () => {
    const { scrape, pass, databaseCalls, log } = await watched(longAgo);
    await scrape();
    await sqs.send(log.url, [{ body: "{}", groupId: "g" }]);
    pass(minute);
    await scrape();
    expect(databaseCalls()).toBe(2);
  });
});
