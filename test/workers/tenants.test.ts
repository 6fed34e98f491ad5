import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { callerOf, entry, newTenant } from "../journeys/api.ts";
import { tenantJourneys } from "../journeys/tenants.ts";
import { rowsOf } from "./database.ts";
import { workers, workersWith } from "./tools.ts";
import { roundTrips } from "./round-trips.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

tenantJourneys(workers);

describe("the settings of a tenant", () => {
  test("cost no round trip of their own", async () => {
    const tenant = newTenant();
    const caller = callerOf(workersWith({}), { tenant_id: tenant });
    expect(await roundTrips(tenant, () => caller.post("/api/v1/logs", entry()))).toBe(1);
    const id = await caller.create();
    expect(await roundTrips(tenant, () => caller.get(`/api/v1/logs/${id}`))).toBe(1);
    expect(await roundTrips(tenant, () => caller.post("/api/v1/logs/export", {}))).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    expect(await roundTrips(tenant, () => caller.get("/api/v1/logs/stats"))).toBe(1);
    expect(await roundTrips(tenant, () => caller.get("/api/v1/logs/stats"))).toBe(0);
  });

  test("undo a write that they forbid", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant });
    await caller.create();
    await rowsOf(sql`update tenants set status = 'suspended' where id = ${tenant}`);
    const answers = await Promise.all(
      Array.from({ length: 5 }, () => caller.post("/api/v1/logs", entry())),
    );
    expect(answers.map((answer) => answer.status)).toEqual([403, 403, 403, 403, 403]);
    const [count] = await rowsOf(
      sql`select count(*)::int as n from audit_logs where tenant_id = ${tenant}`,
    );
    expect(count?.["n"]).toBe(1);
  });
});
