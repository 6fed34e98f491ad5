import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { asRetention, asRole, inTenant, sqlState } from "../../db/client.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { forgetWaiting, makeMonth, ownerOf, rowsOf } from "./database.ts";
import { workers } from "./tools.ts";

afterAll(forgetWaiting);

describe("row-level security", () => {
  const [mine, theirs] = [newTenant(), newTenant()];
  const scope: TenantScope = { tenantId: mine, userId: null };
  const db = ownerOf();
  const month = new Date().toISOString().slice(0, 7).replace("-", "_");

  beforeAll(async () => {
    await callerOf(workers, { tenant_id: mine }).createAll([
      { user_id: "u_1" },
      { user_id: "u_2" },
      {},
    ]);
    await callerOf(workers, { tenant_id: theirs }).createAll([{ user_id: "u_1" }]);
  });

  async function seen(table: string, as = scope): Promise<number> {
    const [result] = await inTenant(db, as, [
      db.execute(sql`select count(*)::int as n from ${sql.identifier(table)}`),
    ]);
    return Number(result.rows[0]?.["n"]);
  }

  async function refusal(
    statement: ReturnType<typeof sql>,
    as = scope,
  ): Promise<string | undefined> {
    try {
      await inTenant(db, as, [db.execute(statement)]);
      return undefined;
    } catch (error) {
      return sqlState(error);
    }
  }

  test("shows a tenant its own rows where a query forgets its WHERE", async () => {
    expect(await seen("audit_logs")).toBe(3);
    expect(await seen("tenants")).toBe(1);
    expect(await seen("pending_index")).toBeLessThanOrEqual(3);
  });

  test("shows the user role its own logs where a query forgets its WHERE", async () => {
    expect(await seen("audit_logs", { tenantId: mine, userId: "u_1" })).toBe(1);
  });

  test("lets a tenant end its own tokens where the update forgets its WHERE, and nobody else's", async () => {
    const [changed] = await inTenant(db, scope, [
      db.execute(sql`update tenants set tokens_not_before = '2020-01-01T00:00:00Z' returning id`),
    ]);
    expect(changed.rows).toEqual([{ id: mine }]);
  });

  test("shows nothing where no tenant is set", async () => {
    expect(await seen("audit_logs", { tenantId: "", userId: null })).toBe(0);
    expect(await seen("pending_index", { tenantId: "", userId: null })).toBe(0);
  });

  test("forgets the tenant when the transaction is over", async () => {
    expect(await seen("audit_logs")).toBe(3);
    const [result] = await asRole(db, "audit_indexer", [
      db.execute(sql`select app_tenant() as tenant`),
    ]);
    expect(result.rows[0]?.["tenant"]).toBeNull();
  });

  test.each([
    ["update audit_logs set action = 'changed'"],
    ["delete from audit_logs"],
    ["truncate audit_logs"],
    ["delete from pending_index"],
    ["delete from tenants"],
    ["update tenants set status = 'active'"],
    ["update tenants set name = 'x'"],
    ["update tenants set rate_tier = 'unlimited'"],
    ["insert into tenants (id, status) values (app_tenant(), 'suspended')"],
    [`select * from audit_logs_${month}`],
    ["alter table audit_logs disable row level security"],
    ["insert into index_failures (tenant_id, log_id, reason) values ('x', gen_random_uuid(), 'x')"],
  ])("refuses the API's role: %s", async (statement) => {
    expect(await refusal(sql.raw(statement))).toMatch(/^42501$/);
  });

  test.each([
    ["select * from dead_letters"],
    [
      "insert into dead_letters (id, queue, message_id, body, reason, receive_count) values (gen_random_uuid(), 'log', 'm', 'b', 'r', 1)",
    ],
    ["insert into service_counters values ('logs_stored', 'x', 1)"],
    ["insert into service_counters values ('repairs', 'missing', 1)"],
    ["delete from service_counters"],
  ])("refuses the API's role what belongs to no tenant: %s", async (statement) => {
    expect(await refusal(sql.raw(statement))).toBe("42501");
  });

  test("shows the API's role no counter but its own", async () => {
    await asRole(db, "audit_indexer", [
      db.execute(sql`insert into service_counters values ('logs_stored', 'test', 0)`),
    ]);
    const [result] = await inTenant(db, scope, [
      db.execute(sql`select distinct name from service_counters where name <> 'degraded_searches'`),
    ]);
    expect(result.rows).toEqual([]);
  });

  test.each([
    ["audit_operator", "select * from audit_logs"],
    ["audit_operator", "select * from export_parts"],
    ["audit_api", "select hash from api_keys"],
    ["audit_api", "delete from api_keys"],
    ["audit_api", "update api_keys set roles = '{admin}'"],
    ["audit_api", "update api_keys set expires_at = null"],
    ["audit_api", "create function x() returns integer language sql as 'select 1'"],
    ["audit_operator", "select * from api_keys"],
    ["audit_operator", "select find_api_key('x')"],
    ["audit_exporter", "select find_api_key('x')"],
    ["audit_operator", "delete from tenants"],
    ["audit_operator", "update tenants set id = 'x'"],
    ["audit_maintenance", "update tenants set status = 'active'"],
    ["audit_indexer", "select * from tenants"],
    ["audit_operator", "select filters from export_pipelines"],
    ["audit_operator", "update export_pipelines set object_key = 'x'"],
    ["audit_operator", "delete from pending_index"],
    ["audit_operator", "update service_counters set value = 0"],
    ["audit_indexer", "delete from dead_letters"],
    ["audit_maintenance", "delete from audit_logs"],
    ["audit_operator", "delete from audit_logs"],
    ["audit_operator", "update tenants set retention_takes_effect_at = null"],
    ["audit_operator", "update tenants set retention_days_before = 1"],
    ["audit_operator", "delete from index_removals"],
    ["audit_retention", "select action from audit_logs"],
    ["audit_retention", "update audit_logs set action = 'x'"],
    ["audit_retention", "truncate audit_logs"],
    [
      "audit_retention",
      "insert into audit_logs (id, tenant_id) values (gen_random_uuid(), app_tenant())",
    ],
    [
      "audit_retention",
      "insert into pending_index (tenant_id, log_id) values (app_tenant(), gen_random_uuid())",
    ],
    ["audit_retention", "update tenants set legal_hold = false"],
    ["audit_retention", "update export_pipelines set status = 'DONE'"],
    ["audit_retention", "delete from index_removals"],
    ["audit_retention", "delete from service_counters"],
    ["audit_retention", "insert into service_counters values ('repairs', 'x', 1)"],
    ["audit_retention", "select * from api_keys"],
    ["audit_retention", "select asked_log from retention_runs"],
    ["audit_maintenance", "select asked_log from retention_runs"],
    ["audit_operator", "select asked_log from retention_runs"],
    ["audit_exporter", "insert into service_counters values ('logs_stored', 'x', 1)"],
    [
      "audit_exporter",
      "insert into dead_letters (id, queue, message_id, body, reason, receive_count) values (gen_random_uuid(), 'log', 'm', 'b', 'r', 1)",
    ],
  ] as const)("refuses the role %s: %s", async (role, statement) => {
    const refused = asRole(db, role, [db.execute(sql.raw(statement))]).then(
      () => undefined,
      (error: unknown) => sqlState(error),
    );
    expect(await refused).toBe("42501");
  });

  describe("for the role that removes logs, whose statement forgets its WHERE", () => {
    const dayMs = 24 * 60 * 60 * 1000;
    let tenant = "";
    let old: string[] = [];
    let kept: string[] = [];

    beforeEach(async () => {
      tenant = newTenant();
      // By the API it would have a log of its own: that it was made.
      await rowsOf(sql`insert into tenants (id) values (${tenant})`);
      old = [await storeAt(tenant, 120), await storeAt(tenant, 91)];
      kept = [await storeAt(tenant, 89), await storeAt(tenant, 0)];
    });

    /** A log that was stored so many days ago, and waits for the index. */
    async function storeAt(of: string, daysAgo: number): Promise<string> {
      const at = new Date(Date.now() - daysAgo * dayMs);
      await makeMonth(at);
      const rows = await rowsOf(sql`
        with stored as (
          insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id)
          values (audit_log_id(${at.toISOString()}::timestamptz, 0), ${of}, now(), now(), 'x', 'a', 'INFO', 'user', 'r', '1')
          returning id
        ), outbox as (
          insert into pending_index (tenant_id, log_id, due_at) select ${of}, id, now() + interval '1 day' from stored
        )
        select id from stored`);
      return String(rows[0]?.["id"]);
    }

    const removeAll = (as: { tenantId: string; defaultDays: number | null }) =>
      asRetention(db, as, [
        db.execute(sql`delete from audit_logs`),
        db.execute(sql`delete from pending_index`),
        db.execute(sql`delete from index_failures`),
      ]);
    const left = async (table = "audit_logs", id = "id") =>
      (
        await rowsOf(sql`
          select ${sql.identifier(id)} as id from ${sql.identifier(table)}
          where tenant_id = ${tenant} order by 1`)
      ).map((row) => row["id"]);

    test("what is too old goes, and what waits for the index of a log that stays does not", async () => {
      await removeAll({ tenantId: tenant, defaultDays: 90 });
      expect(await left()).toEqual(kept);
      expect(await left("pending_index", "log_id")).toEqual(kept);
    });

    test.each([
      ["no default is named, and the tenant has set nothing", () => ({ defaultDays: null })],
      ["another tenant is named", () => ({ tenantId: mine })],
      ["no tenant is named", () => ({ tenantId: "" })],
      ["a wrong default is named, of a tenant that has set more", () => ({ defaultDays: 1 })],
    ])("nothing goes where %s", async (name, change) => {
      if (name.startsWith("a wrong"))
        await rowsOf(sql`update tenants set retention_days = 365 where id = ${tenant}`);
      await rowsOf(sql`update tenants set retention_takes_effect_at = now() where id = ${tenant}`);
      await removeAll({ tenantId: tenant, defaultDays: 90, ...change() });
      expect(await left()).toEqual([...old, ...kept]);
      expect(await left("pending_index", "log_id")).toEqual([...old, ...kept]);
    });

    test("nothing goes under a legal hold", async () => {
      await rowsOf(sql`update tenants set legal_hold = true where id = ${tenant}`);
      await removeAll({ tenantId: tenant, defaultDays: 1 });
      expect(await left()).toEqual([...old, ...kept]);
    });

    test("nothing goes that an export covers which is not over, also under a legal hold", async () => {
      const from = Date.now() - 100 * dayMs;
      await rowsOf(sql`
        insert into export_pipelines (tenant_id, id, format, compression, columns, filters, shown_filters, requested_by, created_at, upper_id, due_at)
        values (${tenant}, gen_random_uuid(), 'csv', 'none', '["id"]', ${JSON.stringify({ from })}::json, '{}', 'x', now(), first_id_at(now()), now() + interval '1 day')`);
      await rowsOf(sql`update tenants set legal_hold = true where id = ${tenant}`);
      await removeAll({ tenantId: tenant, defaultDays: 1 });
      expect(await left()).toEqual([...old, ...kept]);
      await rowsOf(sql`update tenants set legal_hold = false where id = ${tenant}`);
      await removeAll({ tenantId: tenant, defaultDays: 1 });
      expect(await left()).toEqual([old[1], ...kept]);
    });
  });

  test("refuses to write for another tenant, or for another user", async () => {
    const insert = (tenant: string, user: string) => sql`
      insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, user_id, resource_type, resource_id)
      values (audit_log_id(now(), 0), ${tenant}, now(), now(), 'x', 'a', 'INFO', 'user', ${user}, 'r', '1')`;
    expect(await refusal(insert(theirs, "u_1"))).toBe("42501");
    expect(await refusal(insert(mine, "u_2"), { tenantId: mine, userId: "u_1" })).toBe("42501");
    expect(
      await refusal(
        sql`insert into pending_index (tenant_id, log_id) values (${theirs}, gen_random_uuid())`,
      ),
    ).toBe("42501");
  });

  test.each(["audit_indexer", "audit_maintenance"] as const)(
    "lets %s change no log",
    async (role) => {
      for (const statement of [
        sql`update audit_logs set action = 'x'`,
        sql`delete from audit_logs`,
      ]) {
        await expect(asRole(db, role, [db.execute(statement)])).rejects.toSatisfy(
          (error) => sqlState(error) === "42501",
        );
      }
    },
  );
});
