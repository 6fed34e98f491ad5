import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import maintenance from "../../consumers/maintenance/index.ts";
import { asRole, inTenant, sqlState } from "../../db/client.ts";
import { removeOldKeys } from "../../db/old-keys.ts";
import {
  type Answer,
  callerOf,
  createdMany,
  entry,
  expectProblem,
  newTenant,
} from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { loseAnswers } from "./lost-answers.ts";
import { withoutLimits, workers, workersWith } from "./tools.ts";

beforeEach(() => {
  for (const level of ["warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const one = "/api/v1/logs";
const bulk = "/api/v1/logs/bulk";
const created = z.object({ data: z.object({ id: z.string() }) });
const idOf = (answer: Answer) => created.parse(answer.body).data.id;
const manyOf = (answer: Answer) => createdMany.parse(answer.body).data;
const isReplay = (answer: Answer) => answer.headers.get("Idempotency-Replayed") === "true";
const times = <T>(n: number, make: (at: number) => T) =>
  Array.from({ length: n }, (_, at) => make(at));

/** A caller of a tenant of its own, and what is stored of that tenant. */
function newCaller(claims: object = {}, target = workers) {
  const tenant = newTenant();
  const caller = callerOf(target, { tenant_id: tenant, ...claims });
  const keyed = (path: string, key: string, body: unknown) =>
    caller.call("POST", path, body, { "Idempotency-Key": key });
  const stored = async () =>
    (
      await rowsOf(sql`
        select id, resource_id from audit_logs where tenant_id = ${tenant} order by id`)
    ).map((row) => ({ id: String(row["id"]), resource: String(row["resource_id"]) }));
  return { tenant, caller, keyed, stored };
}

/** Waits until a transaction of these tests sleeps: what it holds, it holds. */
const asleep = (seconds: number) =>
  vi.waitFor(async () => {
    const [row] = await rowsOf(sql`
      select from pg_stat_activity
      where query = ${`select pg_sleep(${seconds})`} and state = 'active'`);
    expect(row).toBeDefined();
  });

describe("an Idempotency-Key", () => {
  test("gives a repeated request the first one's answer, and stores nothing more", async () => {
    const { keyed, stored } = newCaller();
    const first = await keyed(one, "k", entry());
    const again = await keyed(`${one}/`, "k", entry());
    expect([first.status, again.status]).toEqual([201, 201]);
    expect([isReplay(first), isReplay(again)]).toEqual([false, true]);
    expect(again.text).toBe(first.text);
    expect(first.headers.get("Location")).toBe(`${one}/${idOf(first)}`);
    expect(again.headers.get("Location")).toBe(first.headers.get("Location"));
    expect((await stored()).map(({ id }) => id)).toEqual([idOf(first)]);
  });

  test("gives a repeated bulk the same ids in the same order", async () => {
    const { keyed, stored } = newCaller();
    const logs = times(7, (n) => entry({ resource_id: `r_${n}` }));
    const first = await keyed(bulk, "k", { logs });
    const again = await keyed(bulk, "k", { logs });
    expect(first.status, first.text).toBe(201);
    expect(again.text).toBe(first.text);
    expect([isReplay(first), isReplay(again)]).toEqual([false, true]);
    const rows = await stored();
    expect(rows.map(({ id }) => id)).toEqual(manyOf(first).log_ids);
    expect(rows.map(({ resource }) => resource)).toEqual(times(7, (n) => `r_${n}`));
  });

  test("is refused with another body, and the first answer stays", async () => {
    const { keyed, stored } = newCaller();
    const first = await keyed(one, "k", entry());
    expectProblem(await keyed(one, "k", entry({ user_id: "u" })), 422, "idempotency_key_reused");
    expect(idOf(await keyed(one, "k", entry()))).toBe(idOf(first));
    expect(await stored()).toHaveLength(1);
  });

  test("belongs to its tenant, its caller and its path", async () => {
    const { tenant, keyed, stored } = newCaller();
    const bob = callerOf(workers, { tenant_id: tenant, sub: "bob" });
    const other = newCaller();
    const ids = [
      idOf(await keyed(one, "k", entry())),
      idOf(await bob.call("POST", one, entry(), { "Idempotency-Key": "k" })),
      idOf(await other.keyed(one, "k", entry())),
      ...manyOf(await keyed(bulk, "k", { logs: [entry()] })).log_ids,
    ];
    expect(new Set(ids).size).toBe(4);
    expect(await stored()).toHaveLength(3);
    expect(await other.stored()).toHaveLength(1);
  });

  test.each([
    ["empty", ""],
    ["of 256 characters", "k".repeat(256)],
  ])("that is %s is refused", async (_what, key) => {
    const { keyed, stored } = newCaller();
    const answer = await keyed(one, key, entry());
    expect(expectProblem(answer, 422, "validation_failed")).toEqual(["Idempotency-Key"]);
    expect(await stored()).toHaveLength(0);
  });

  test("of 255 characters is taken", async () => {
    const { keyed } = newCaller();
    expect((await keyed(one, "k".repeat(255), entry())).status).toBe(201);
  });

  test("of a request that was refused is free again", async () => {
    const { keyed, caller, stored } = newCaller();
    expectProblem(await keyed(one, "a", { ...entry(), acton: "x" }), 422, "validation_failed");
    expect(isReplay(await keyed(one, "a", entry()))).toBe(false);
    await caller.create({ event_id: "e" });
    const reused = await keyed(one, "b", entry({ event_id: "e", user_id: "another" }));
    expectProblem(reused, 409, "event_id_reused");
    const free = await keyed(one, "b", entry());
    expect([free.status, isReplay(free)]).toEqual([201, false]);
    expect(await stored()).toHaveLength(3);
  });

  test("is forgotten after 24 hours, and not before", async () => {
    const { tenant, keyed, stored } = newCaller();
    const age = (hours: number) =>
      rowsOf(sql`
        update idempotency_keys set created_at = clock_timestamp() - make_interval(secs => ${hours * 3_600})
        where tenant_id = ${tenant}`);
    const first = await keyed(one, "k", entry());
    await age(23.9);
    expect(idOf(await keyed(one, "k", entry()))).toBe(idOf(first));
    await age(24.1);
    const second = await keyed(one, "k", entry({ user_id: "u" }));
    expect([second.status, isReplay(second)]).toEqual([201, false]);
    expect(idOf(await keyed(one, "k", entry({ user_id: "u" })))).toBe(idOf(second));
    expect(await stored()).toHaveLength(2);
  });

  test("stores one log for each of many keys that many requests race for, mixed bodies among them", async () => {
    const { keyed, stored } = newCaller({}, workersWith(withoutLimits));
    const keys = times(10, (n) => `key-${n}`);
    const bodies = ["x", "y"].map((user) => entry({ user_id: user }));
    const answers = await Promise.all(
      times(8, (n) => n).flatMap((n) =>
        keys.map(async (key) => ({
          key,
          body: n % 2,
          answer: await keyed(one, key, bodies[n % 2]),
        })),
      ),
    );
    const rows = await stored();
    expect(rows).toHaveLength(keys.length);
    for (const key of keys) {
      const own = answers.filter((each) => each.key === key);
      const won = own.filter(({ answer }) => answer.status === 201);
      const [winner] = won;
      expect(won.every(({ body }) => body === winner?.body)).toBe(true);
      expect(won).toHaveLength(4);
      expect(new Set(won.map(({ answer }) => answer.text)).size).toBe(1);
      expect(won.filter(({ answer }) => !isReplay(answer))).toHaveLength(1);
      for (const { answer } of own.filter((each) => each.body !== winner?.body))
        expectProblem(answer, 422, "idempotency_key_reused");
    }
  });

  test("whose first request is still running is answered with 409 and when to come again", async () => {
    const { tenant, keyed, stored, caller } = newCaller();
    await caller.create();
    const db = ownerOf();
    // The key is taken, and its transaction goes on for longer than the other request waits.
    const running = db.batch([
      db.execute(sql`
        insert into idempotency_keys (tenant_id, sub, scope, key, body_mac, nonce, created_at)
        values (${tenant}, 'alice', 'POST /logs', 'k', 'm', gen_random_uuid(), clock_timestamp())`),
      db.execute(sql`select pg_sleep(4)`),
      db.execute(sql`delete from idempotency_keys where tenant_id = ${tenant}`),
    ]);
    await asleep(4);
    const answer = await keyed(one, "k", entry());
    expectProblem(answer, 409, "request_in_progress");
    expect(answer.headers.get("Retry-After")).toMatch(/^[1-9]$/);
    await running;
    expect((await keyed(one, "k", entry())).status).toBe(201);
    expect(await stored()).toHaveLength(2);
  });

  test("makes a lost answer of the database good within the request", async () => {
    const { tenant, keyed, stored } = newCaller();
    const seen = loseAnswers(tenant, "first");
    const answer = await keyed(bulk, "k", { logs: [entry(), entry()] });
    expect(answer.status, answer.text).toBe(201);
    expect(seen.count).toBe(2);
    expect((await stored()).map(({ id }) => id)).toEqual(manyOf(answer).log_ids);
  });

  test("lets a client repeat a write that was committed and not answered", async () => {
    const { tenant, keyed, stored } = newCaller();
    loseAnswers(tenant, "all");
    expectProblem(await keyed(one, "k", entry()), 503, "database_unavailable");
    vi.restoreAllMocks();
    const again = await keyed(one, "k", entry());
    expect([again.status, isReplay(again)]).toEqual([201, true]);
    expect((await stored()).map(({ id }) => id)).toEqual([idOf(again)]);
  });

  test("is forgotten with what was not committed", async () => {
    const { keyed, stored } = newCaller({}, workersWith({ TENANT_AUTO_CREATE: "false" }));
    expectProblem(await keyed(one, "k", entry()), 403, "tenant_unknown");
    expectProblem(await keyed(one, "k", entry()), 403, "tenant_unknown");
    expect(await stored()).toHaveLength(0);
  });
});

describe("an event_id", () => {
  test("that is sent again is answered with the first log's id, and stored once", async () => {
    const { caller, stored } = newCaller();
    const id = await caller.create({ event_id: "e", severity: "INFO", metadata: { a: [1, "x"] } });
    const body = `{"metadata": { "a" : [1, "x"] }, "event_id": "e", "resource_id": "doc_1",
      "resource_type": "document", "action": "document.opened", "severity": "info", "user_id": null}`;
    const again = await caller.call("POST", one, body);
    expect(again.status, again.text).toBe(201);
    expect(idOf(again)).toBe(id);
    expect(again.headers.get("Location")).toBe(`${one}/${id}`);
    expect((await stored()).map((row) => row.id)).toEqual([id]);
  });

  test.each([
    ["a digit", { metadata: '{"n":9007199254740992}' }],
    ["the order of keys in an object", { metadata: '{"m":1,"n":9007199254740993}' }],
    ["a masked value", { metadata: '{"n":9007199254740993,"password":"b"}' }],
    ["a field", { user_id: '"u"' }],
    ["the time", { occurred_at: '"2026-11-24T08:00:00Z"' }],
  ])("is refused where %s is another, and the entry is named", async (_what, change) => {
    const { caller, stored } = newCaller();
    const text = (fields: Record<string, string>) =>
      `{"action":"a","resource_type":"r","resource_id":"i","event_id":"e",${Object.entries(fields)
        .map(([name, value]) => `"${name}":${value}`)
        .join(",")}}`;
    const first = text({ metadata: '{"n":9007199254740993,"password":"a"}' });
    expect((await caller.call("POST", one, first)).status).toBe(201);
    const other = text({ metadata: '{"n":9007199254740993,"password":"a"}', ...change });
    const answer = await caller.call("POST", one, other);
    expect(expectProblem(answer, 409, "event_id_reused")).toEqual(["/event_id"]);
    const many = await caller.call("POST", bulk, `{"logs":[${JSON.stringify(entry())},${other}]}`);
    expect(expectProblem(many, 409, "event_id_reused")).toEqual(["/logs/1/event_id"]);
    expect(many.text).not.toContain('"e"');
    expect(await stored()).toHaveLength(1);
  });

  test("is recognised in batches that are cut differently on repeat", async () => {
    const { caller, stored } = newCaller();
    const logs = times(60, (n) => entry({ resource_id: `r_${n}`, event_id: `e_${n}` }));
    const send = async (from: number, to: number) =>
      manyOf(await caller.post(bulk, { logs: logs.slice(from, to) }));
    const first = [await send(0, 20), await send(20, 40)];
    const again = [await send(0, 7), await send(7, 33), await send(33, 60)];
    expect(first.map((answer) => answer.affected_rows)).toEqual([20, 20]);
    expect(again.map((answer) => answer.affected_rows)).toEqual([0, 0, 20]);
    const ids = again.flatMap((answer) => answer.log_ids);
    expect(ids.slice(0, 40)).toEqual(first.flatMap((answer) => answer.log_ids));
    const rows = await stored();
    expect(rows.map(({ id }) => id)).toEqual(ids);
    expect(rows.map(({ resource }) => resource)).toEqual(
      logs.map((log) => Object(log).resource_id),
    );
  });

  test("that stands in a bulk twice is stored once, and in its place", async () => {
    const { caller, stored } = newCaller();
    const [a, b] = [entry({ event_id: "a" }), entry({ event_id: "b" })];
    const answer = manyOf(await caller.post(bulk, { logs: [a, entry(), b, a] }));
    expect(answer.affected_rows).toBe(3);
    expect(answer.log_ids[3]).toBe(answer.log_ids[0]);
    expect((await stored()).map(({ id }) => id)).toEqual(answer.log_ids.slice(0, 3));
    const mixed = await caller.post(bulk, { logs: [b, entry(), { ...b, user_id: "u" }] });
    expect(expectProblem(mixed, 409, "event_id_reused")).toEqual(["/logs/2/event_id"]);
    expect(await stored()).toHaveLength(3);
  });

  test("under a key too: a repeated key says what its first request stored", async () => {
    const { caller, keyed, stored } = newCaller();
    const id = await caller.create({ event_id: "e_0" });
    const logs = times(3, (n) => entry({ event_id: `e_${n}` }));
    const first = await keyed(bulk, "k", { logs });
    expect(manyOf(first)).toMatchObject({ affected_rows: 2 });
    expect(manyOf(first).log_ids[0]).toBe(id);
    const again = await keyed(bulk, "k", { logs });
    expect([again.text, isReplay(again)]).toEqual([first.text, true]);
    const other = await keyed(bulk, "k2", { logs });
    expect(manyOf(other)).toEqual({ affected_rows: 0, log_ids: manyOf(first).log_ids });
    expect(await stored()).toHaveLength(3);
  });

  test("is stored once by bulks that race with the same events in opposite orders", async () => {
    const { caller, stored } = newCaller({}, workersWith(withoutLimits));
    await caller.create();
    const logs = times(50, (n) => entry({ event_id: `e_${n}`, resource_id: `r_${n}` }));
    const rounds = times(24, (n) => (n % 2 === 0 ? logs : logs.toReversed()));
    const answers = await Promise.all(
      rounds.map((sent, n) =>
        caller.call(
          "POST",
          bulk,
          { logs: sent },
          n % 3 === 0 ? { "Idempotency-Key": `k${n}` } : {},
        ),
      ),
    );
    expect(answers.map(({ status, text }) => (status === 201 ? "" : text))).toEqual(
      rounds.map(() => ""),
    );
    const inOrder = answers.map((answer, n) =>
      n % 2 === 0 ? manyOf(answer).log_ids : manyOf(answer).log_ids.toReversed(),
    );
    expect(new Set(inOrder.map((ids) => ids.join())).size).toBe(1);
    expect(answers.reduce((sum, answer) => sum + manyOf(answer).affected_rows, 0)).toBe(50);
    expect(await stored()).toHaveLength(51);
  });

  test("is free again after 7 days, and not before", async () => {
    const { tenant, caller, stored } = newCaller();
    const age = (days: number) =>
      rowsOf(sql`
        update event_ids set created_at = clock_timestamp() - make_interval(secs => ${days * 86_400})
        where tenant_id = ${tenant}`);
    const first = await caller.create({ event_id: "e" });
    await age(6.9);
    expect(await caller.create({ event_id: "e" })).toBe(first);
    await age(7.1);
    const second = await caller.create({ event_id: "e", user_id: "u" });
    expect(await caller.create({ event_id: "e", user_id: "u" })).toBe(second);
    expect((await stored()).map(({ id }) => id)).toEqual([first, second]);
  });

  test("of the user role is its own: it neither takes another's nor finds it out", async () => {
    const { tenant, caller, stored } = newCaller();
    const mallory = callerOf(workers, { tenant_id: tenant, role: "user", sub: "mallory" });
    const hers = await mallory.create({ event_id: "e", user_id: "mallory" });
    const ours = await caller.create({ event_id: "e", user_id: "u" });
    expect(await mallory.create({ event_id: "e", user_id: "mallory" })).toBe(hers);
    expect(await caller.create({ event_id: "e", user_id: "u" })).toBe(ours);
    expect(await stored()).toHaveLength(2);
  });

  test("is unique in its tenant only", async () => {
    const [mine, theirs] = [newCaller(), newCaller()];
    await mine.caller.create({ event_id: "e" });
    await theirs.caller.create({ event_id: "e", user_id: "u" });
    expect(await mine.stored()).toHaveLength(1);
    expect(await theirs.stored()).toHaveLength(1);
  });
});

describe("what is stored once", () => {
  test("is counted once, and waits for the index once", async () => {
    // Nothing is indexed here: every log stays in the outbox, where it is counted until it is indexed.
    const deaf = workersWith({ OPENSEARCH_HOST: undefined });
    const { tenant, keyed, caller } = newCaller({}, deaf);
    await keyed(one, "k", entry());
    await keyed(one, "k", entry());
    await caller.create({ event_id: "e" });
    await caller.create({ event_id: "e" });
    const logs = [entry({ event_id: "e" }), entry({ event_id: "f" })];
    for (const key of ["b", "b", "c"]) await keyed(bulk, key, { logs });
    const rows = await rowsOf(
      sql`select is_first, attempts from pending_index where tenant_id = ${tenant}`,
    );
    expect(rows).toEqual(times(3, () => ({ is_first: true, attempts: 0 })));
  });
});

describe("row-level security of keys and events", () => {
  const db = ownerOf();

  test.each(["idempotency_keys", "event_ids"])(
    "shows of %s a tenant its own, and the user role its own of those",
    async (table) => {
      const { tenant, keyed } = newCaller();
      const other = newCaller();
      await other.keyed(one, "k", entry({ event_id: "e" }));
      await keyed(one, "k", entry({ event_id: "e" }));
      const user = callerOf(workers, { tenant_id: tenant, role: "user", sub: "u_1" });
      await user.call("POST", one, entry({ event_id: "e", user_id: "u_1" }), {
        "Idempotency-Key": "k",
      });
      const seen = async (userId: string | null, tenantId = tenant) => {
        const [result] = await inTenant(db, { tenantId, userId }, [
          db.execute(sql`select tenant_id from ${sql.identifier(table)}`),
        ]);
        return result.rows.map((row) => row["tenant_id"]);
      };
      expect(await seen("u_1")).toEqual([tenant]);
      expect(await seen("u_2")).toEqual([]);
      expect(new Set(await seen(null))).toEqual(new Set([tenant]));
      expect(await seen(null, "")).toEqual([]);
    },
  );

  test.each([
    ["audit_api", "delete from idempotency_keys"],
    ["audit_api", "delete from event_ids"],
    ["audit_indexer", "select * from event_ids"],
    ["audit_operator", "delete from idempotency_keys"],
    ["audit_operator", "select * from event_ids"],
    ["audit_exporter", "select * from idempotency_keys"],
    ["audit_maintenance", "update event_ids set log_id = gen_random_uuid()"],
    ["audit_maintenance", "insert into idempotency_keys select * from idempotency_keys"],
  ] as const)("refuses the role %s: %s", async (role, statement) => {
    await expect(asRole(db, role, [db.execute(sql.raw(statement))])).rejects.toSatisfy(
      (error) => sqlState(error) === "42501",
    );
  });
});

describe("the maintenance Worker", () => {
  const work = () =>
    maintenance.scheduled(
      createScheduledController({ scheduledTime: new Date(Date.UTC(2026, 10, 24, 8)) }),
      { ...env, LOG_LEVEL: "WARNING" } as never,
    );

  test("removes keys and event ids that have had their time, in chunks, and no others", async () => {
    const tenant = newTenant();
    const keys = (age: string, n: number) =>
      rowsOf(sql`
        insert into idempotency_keys (tenant_id, sub, scope, key, body_mac, nonce, created_at)
        select ${tenant}, 'alice', 'POST /logs', ${age} || n, 'm', gen_random_uuid(),
          clock_timestamp() - ${age}::interval
        from generate_series(1, ${n}::int) n`);
    const events = (age: string, n: number) =>
      rowsOf(sql`
        insert into event_ids (tenant_id, user_wall, event_id, content_mac, nonce, log_id, created_at)
        select ${tenant}, '', ${age} || n, 'm', gen_random_uuid(), gen_random_uuid(),
          clock_timestamp() - ${age}::interval
        from generate_series(1, ${n}::int) n`);
    await keys("24 hours", 3);
    await keys("26 hours", 5_001);
    await events("7 days", 4);
    await events("8 days", 5_002);
    await work();
    const left = async (table: string) =>
      (
        await rowsOf(
          sql`select count(*)::int as n from ${sql.identifier(table)} where tenant_id = ${tenant}`,
        )
      )[0]?.["n"];
    expect([await left("idempotency_keys"), await left("event_ids")]).toEqual([3, 4]);
  });

  test("passes over a key that a request holds, and removes the others", async () => {
    const tenant = newTenant();
    await rowsOf(sql`
      insert into idempotency_keys (tenant_id, sub, scope, key, body_mac, nonce, created_at)
      select ${tenant}, 'alice', 'POST /logs', key, 'm', gen_random_uuid(), clock_timestamp() - interval '2 days'
      from unnest(array['held', 'free']) key`);
    const db = ownerOf();
    const held = db.batch([
      db.execute(
        sql`update idempotency_keys set created_at = clock_timestamp() where tenant_id = ${tenant} and key = 'held'`,
      ),
      db.execute(sql`select pg_sleep(2)`),
    ]);
    await asleep(2);
    await removeOldKeys(db, Date.now() + 5_000);
    const left = await rowsOf(sql`select key from idempotency_keys where tenant_id = ${tenant}`);
    expect(left).toEqual([{ key: "held" }]);
    await held;
  });
});
