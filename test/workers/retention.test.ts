import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterAll, describe, expect, test } from "vitest";
import { z } from "zod";
import maintenance from "../../consumers/maintenance/index.ts";
import { runRetention } from "../../consumers/maintenance/remove-old-logs.ts";
import { removeOldLogs } from "../../db/remove-old-logs.ts";
import { askForRemoval } from "../../db/retention.ts";
import { nextRun } from "../../db/retention-runs.ts";
import { ownLog } from "../../events/own-log.ts";
import { tenantMask } from "../../events/tenant-mask.ts";
import { createLogger } from "../../platform/logger.ts";
import { callerOf, expectProblem, newTenant } from "../journeys/api.ts";
import { forgetWaiting, ownerOf, rowsOf } from "./database.ts";
import { dayMs, makeDue, passWeek, storeOld } from "./old-logs.ts";
import { workers, workersWith } from "./tools.ts";

afterAll(forgetWaiting);

const logger = createLogger("test", "ERROR");
const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "root" });

const cleanup = z.strictObject({
  data: z.strictObject({
    deleted: z.int(),
    deleted_is_lower_bound: z.literal(true).optional(),
    cutoff: z.iso.datetime(),
    complete: z.boolean(),
  }),
});

async function idsOf(tenant: string): Promise<string[]> {
  const rows = await rowsOf(sql`
    select id from audit_logs
    where tenant_id = ${tenant} and not starts_with(action, 'audit_log.') order by id`);
  return rows.map((row) => String(row["id"]));
}

const adminOf = (tenant: string, target = workers) => callerOf(target, { tenant_id: tenant });

async function cleanUp(tenant: string, query = "", target = workers) {
  const answer = await adminOf(tenant, target).call("DELETE", `/api/v1/logs/cleanup${query}`);
  expect(answer.status, answer.text).toBe(200);
  return cleanup.parse(answer.body).data;
}

async function change(tenant: string, changes: object) {
  await rowsOf(sql`insert into tenants (id) values (${tenant}) on conflict do nothing`);
  const answer = await platform.call("PATCH", `/api/v1/tenants/${tenant}`, changes);
  expect(answer.status, answer.text).toBe(200);
  return z.object({ data: z.record(z.string(), z.unknown()) }).parse(answer.body).data;
}

const ownLogFor = (tenantId: string) => {
  const event = { action: "audit_log.cleanup_started", resource_type: "audit_log" } as const;
  const requester = {
    user_id: "alice",
    actor_type: "user",
    ip_address: null,
    user_agent: null,
    request_id: null,
  } as const;
  const hashSecret = "0".repeat(32);
  const mask = tenantMask(null, tenantId, { hashSecret, extraKeys: [] });
  return ownLog(event, requester, { tenantId, recordedBy: "test", mask, hashSecret });
};

const expectAge = (cutoff: string, days: number) => {
  const age = Date.now() - Date.parse(cutoff);
  expect(age).toBeGreaterThanOrEqual(days * dayMs - 1_000);
  expect(age).toBeLessThan(days * dayMs + 20_000);
};

describe("a cleanup", () => {
  test("removes what is older than the default, of its tenant alone, and no more", async () => {
    const [tenant, other] = [newTenant(), newTenant()];
    await storeOld(tenant, 400, 3, true);
    await storeOld(tenant, 91, 2);
    const kept = await storeOld(tenant, 89, 2);
    const others = await storeOld(other, 400, 3);
    kept.push(await adminOf(tenant).create());

    const dry = await cleanUp(tenant, "?dry_run=true");
    expect(dry).toMatchObject({ deleted: 5, complete: true });
    expectAge(dry.cutoff, 90);
    expect(await idsOf(tenant)).toHaveLength(8);

    const done = await cleanUp(tenant);
    expect(done).toMatchObject({ deleted: 5, complete: true });
    expectAge(done.cutoff, 90);
    expect(await idsOf(tenant)).toEqual(kept);
    expect(await idsOf(other)).toEqual(others);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: true });
    const waiting = await rowsOf(sql`
      select log_id from pending_index where tenant_id = ${tenant} and log_id < ${kept.at(-1)}`);
    expect(waiting).toEqual([]);
  });

  test("answers what the API knows no more: a log that is removed is not found", async () => {
    const tenant = newTenant();
    const [old = ""] = await storeOld(tenant, 91, 1);
    const caller = adminOf(tenant);
    expect((await caller.get(`/api/v1/logs/${old}`)).status).toBe(200);
    await cleanUp(tenant);
    expectProblem(await caller.get(`/api/v1/logs/${old}`), 404, "not_found");
  });

  test("takes the default from the deployment", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 91, 2);
    const kept = await storeOld(tenant, 20, 1);
    const target = workersWith({ DEFAULT_RETENTION_DAYS: "100" });
    expect(await cleanUp(tenant, "", target)).toMatchObject({ deleted: 0, complete: true });
    expect(await cleanUp(tenant, "", workersWith({ DEFAULT_RETENTION_DAYS: "21" }))).toMatchObject({
      deleted: 2,
      complete: true,
    });
    expect(await idsOf(tenant)).toEqual(kept);
  });

  test.each(["?dry_run=yes", "?dry_run=", "?older_than=1"])("refuses %s", async (query) => {
    const answer = await adminOf(newTenant()).call("DELETE", `/api/v1/logs/cleanup${query}`);
    expectProblem(answer, 422, "validation_failed");
  });

  test("removes nothing under a legal hold, and says so", async () => {
    const tenant = newTenant();
    const ids = await storeOld(tenant, 400, 3);
    expect(await change(tenant, { legal_hold: true })).toMatchObject({ legal_hold: true });
    for (const query of ["", "?dry_run=true"]) {
      const answer = await adminOf(tenant).call("DELETE", `/api/v1/logs/cleanup${query}`);
      expectProblem(answer, 409, "legal_hold");
    }
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual(ids);
    await change(tenant, { legal_hold: false });
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 3, complete: true });
  });
});

describe("a cleanup that is not done at once", () => {
  /** Each chunk of a few logs, and after it no time is left. */
  const step = async (tenant: string, most: number) => {
    const log = await ownLogFor(tenant);
    const scope = { tenantId: tenant, userId: null };
    const { run } = await askForRemoval(ownerOf(), scope, 90, log);
    if (!run) throw new Error("under a hold");
    const removed = await removeOldLogs(ownerOf(), run, 0, { first: most, most });
    return { run, removed };
  };
  test("removes the oldest first, and the cron goes on with the rest", async () => {
    const tenant = newTenant();
    const ids = await storeOld(tenant, 100, 10);
    const { run, removed } = await step(tenant, 4);
    expect(removed).toMatchObject({ removed: 4, state: "more" });
    expect(await idsOf(tenant)).toEqual(ids.slice(4));
    // The request dies here: it has settled nothing, and has a minute of its own.
    expect(await runRetention(ownerOf(), logger)).toMatchObject({ removed: 0 });
    await makeDue(tenant);
    expect(await nextRun(ownerOf())).toEqual({ ...run, position: ids[3] });
    expect(await runRetention(ownerOf(), logger)).toMatchObject({ removed: 6 });
    expect(await idsOf(tenant)).toEqual([]);
    const [row] = await rowsOf(sql`
      select cutoff, due_at = 'infinity' as is_over from retention_runs where tenant_id = ${tenant}`);
    expect(row).toEqual({ cutoff: null, is_over: true });
  });

  test("stops at the next chunk where a legal hold comes, and does not go on after it", async () => {
    const tenant = newTenant();
    const ids = await storeOld(tenant, 100, 10);
    const { run } = await step(tenant, 4);
    await change(tenant, { legal_hold: true });
    expect(await removeOldLogs(ownerOf(), run, Infinity)).toMatchObject({
      removed: 0,
      state: "held",
    });
    await makeDue(tenant);
    await runRetention(ownerOf(), logger);
    await change(tenant, { legal_hold: false });
    await makeDue(tenant);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual(ids.slice(4));
  });

  test("keeps what came to be kept for longer meanwhile, and is done", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 500, 3);
    const kept = await storeOld(tenant, 100, 3);
    const { run } = await step(tenant, 1);
    await change(tenant, { retention_days: 365 });
    const done = await removeOldLogs(ownerOf(), run, Infinity);
    expect(done).toMatchObject({ removed: 2, state: "done" });
    expectAge(new Date(done.cutoff).toISOString(), 365);
    expect(await idsOf(tenant)).toEqual(kept);
  });

  test("gives every tenant its turn", async () => {
    const tenants = [newTenant(), newTenant(), newTenant()];
    for (const tenant of tenants) {
      await storeOld(tenant, 100, 5);
      await step(tenant, 1);
      await makeDue(tenant);
    }
    // A turn is a chunk here, and a chunk takes all that is left.
    expect(await runRetention(ownerOf(), logger, { runMs: 10_000, turnMs: 0 })).toMatchObject({
      removed: 12,
    });
    for (const tenant of tenants) expect(await idsOf(tenant)).toEqual([]);
  });
});

describe("an export that is not over", () => {
  const start = async (tenant: string, body: object = {}) => {
    const answer = await adminOf(tenant, idle).post("/api/v1/logs/export", body);
    expect(answer.status, answer.text).toBe(202);
    return z.object({ data: z.object({ id: z.string() }) }).parse(answer.body).data.id;
  };
  /** No message is sent: so no exporter works on it. */
  const idle = workersWith({ SQS_EXPORT_QUEUE_URL: undefined, SQS_LOG_QUEUE_URL: undefined });
  const set = (id: string, status: string, daysAgo: number) =>
    rowsOf(sql`
      update export_pipelines set status = ${status}, due_at = now() + interval '1 day',
        finished_at = now() - make_interval(hours => ${Math.round(daysAgo * 24)}) where id = ${id}`);

  test("keeps all that it covers, and the cleanup goes on when it is over", async () => {
    const tenant = newTenant();
    const ids = await storeOld(tenant, 100, 3);
    const id = await start(tenant);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: false });
    expect(await cleanUp(tenant, "?dry_run=true")).toMatchObject({ deleted: 3, complete: true });
    await set(id, "IN_PROGRESS", 0);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: false });
    expect(await idsOf(tenant)).toEqual(ids);
    await set(id, "DONE", 0);
    await rowsOf(sql`update retention_runs set due_at = now() where tenant_id = ${tenant}`);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual([]);
  });

  test("keeps nothing from before its `from`", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 120, 3);
    const kept = await storeOld(tenant, 100, 3);
    await start(tenant, {
      filters: { from: new Date(Date.now() - 100 * dayMs - 60_000).toISOString() },
    });
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 3, complete: false });
    expect(await idsOf(tenant)).toEqual(kept);
  });

  test("keeps it for as long as a failed one can be tried again", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 100, 3);
    const id = await start(tenant);
    await set(id, "FAILED", 6.9);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: false });
    const retry = `/api/v1/logs/export/${id}/retry`;
    expect((await adminOf(tenant, idle).post(retry, undefined)).status).toBe(202);
    await set(id, "FAILED", 7.1);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: false });
    expectProblem(await adminOf(tenant, idle).post(retry, undefined), 409, "conflict");
    await set(id, "FAILED", 8.1);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 3, complete: true });
  });
});

describe("the daily run", () => {
  test("removes what is too old by a retention that was set, once a day", async () => {
    const tenant = newTenant();
    await change(tenant, { retention_days: 30 });
    await storeOld(tenant, 31, 3);
    const kept = await storeOld(tenant, 29, 2);
    await makeDue(tenant);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toHaveLength(5);
    await passWeek(tenant);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual(kept);
    const [row] = await rowsOf(sql`
      select extract(epoch from due_at - now()) / 3600 as hours from retention_runs where tenant_id = ${tenant}`);
    expect(Number(row?.["hours"])).toBeCloseTo(24, 1);
  });

  test("leaves a tenant alone that never set one, and one that went back to the default", async () => {
    const [never, back] = [newTenant(), newTenant()];
    await change(back, { retention_days: 30 });
    await passWeek(back);
    await change(back, { retention_days: null });
    await passWeek(back);
    const ids = [await storeOld(never, 400, 1), await storeOld(back, 400, 1)];
    await rowsOf(sql`
      insert into retention_runs (tenant_id, due_at) values (${never}, now()) on conflict do nothing`);
    await runRetention(ownerOf(), logger);
    expect([await idsOf(never), await idsOf(back)]).toEqual(ids);
  });

  test("waits for a week after the first setting, though that is longer than the default", async () => {
    const tenant = newTenant();
    expect(await change(tenant, { retention_days: 365 })).toMatchObject({
      retention_takes_effect_at: expect.any(String),
    });
    const ids = await storeOld(tenant, 400, 1);
    await makeDue(tenant);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual(ids);
    await passWeek(tenant);
    await runRetention(ownerOf(), logger);
    expect(await idsOf(tenant)).toEqual([]);
  });

  test("is done by the cron, also of a deployment that sleeps", async () => {
    const tenant = newTenant();
    await change(tenant, { retention_days: 30 });
    await storeOld(tenant, 31, 3);
    await passWeek(tenant);
    // Every 15 minutes the work is done whatever happens.
    const scheduledTime = new Date(Date.UTC(2026, 10, 24, 8, 0));
    await maintenance.scheduled(createScheduledController({ scheduledTime }), {
      ...env,
      LOG_LEVEL: "ERROR",
    } as never);
    expect(await idsOf(tenant)).toEqual([]);
  });
});

describe("a tenant's retention", () => {
  test("is the default until it is set, and then what was set", async () => {
    const tenant = newTenant();
    await platform.post("/api/v1/tenants", { id: tenant });
    const { body } = await platform.get(`/api/v1/tenants/${tenant}`);
    expect(body).toMatchObject({
      data: {
        retention_days: 90,
        retention_is_default: true,
        retention_takes_effect_at: null,
        retention_days_until_then: null,
        legal_hold: false,
      },
    });
    const made = await platform.post("/api/v1/tenants", {
      id: newTenant(),
      retention_days: 365,
      legal_hold: true,
    });
    expect(made.body).toMatchObject({
      data: {
        retention_days: 365,
        retention_is_default: false,
        retention_takes_effect_at: null,
        legal_hold: true,
      },
    });
  });

  test("that is shorter holds after 7 days, and until then the longer one of before", async () => {
    const tenant = newTenant();
    const old = await storeOld(tenant, 95, 1);
    const middle = await storeOld(tenant, 40, 1);
    const changed = await change(tenant, { retention_days: 30 });
    expect(changed).toMatchObject({ retention_days: 30, retention_days_until_then: 90 });
    const waits = Date.parse(String(changed["retention_takes_effect_at"])) - Date.now();
    expect(Math.abs(waits - 7 * dayMs)).toBeLessThan(20_000);
    const early = await cleanUp(tenant);
    expect(early).toMatchObject({ deleted: old.length, complete: true });
    expectAge(early.cutoff, 90);
    // Said once more it does not begin anew.
    const again = await change(tenant, { retention_days: 30 });
    expect(again["retention_takes_effect_at"]).toBe(changed["retention_takes_effect_at"]);
    await passWeek(tenant);
    const { body } = await platform.get(`/api/v1/tenants/${tenant}`);
    expect(body).toMatchObject({
      data: { retention_takes_effect_at: null, retention_days_until_then: null },
    });
    expect(await cleanUp(tenant)).toMatchObject({ deleted: middle.length, complete: true });
  });

  test("that is longer holds at once, and takes a shorter one back that waits", async () => {
    const tenant = newTenant();
    await change(tenant, { retention_days: 60 });
    await passWeek(tenant);
    expect(await change(tenant, { retention_days: 10 })).toMatchObject({
      retention_days_until_then: 60,
    });
    // Longer than the one that waits, and shorter than the one that holds: it waits, for a week of its own.
    expect(await change(tenant, { retention_days: 20 })).toMatchObject({
      retention_days: 20,
      retention_days_until_then: 60,
    });
    expect(await change(tenant, { retention_days: 61 })).toMatchObject({
      retention_days: 61,
      retention_takes_effect_at: null,
    });
    const kept = await storeOld(tenant, 60.5, 1);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: true });
    expect(await idsOf(tenant)).toEqual(kept);
  });

  test("goes back to the default after a week where that is shorter", async () => {
    const tenant = newTenant();
    await change(tenant, { retention_days: 365 });
    await passWeek(tenant);
    const ids = await storeOld(tenant, 200, 1);
    expect(await change(tenant, { retention_days: null })).toMatchObject({
      retention_days: 90,
      retention_is_default: true,
      retention_days_until_then: 365,
    });
    expect(await cleanUp(tenant)).toMatchObject({ deleted: 0, complete: true });
    await passWeek(tenant);
    expect(await cleanUp(tenant)).toMatchObject({ deleted: ids.length, complete: true });
  });

  test("of a hundred years removes nothing: there is no id of a time before 1970", async () => {
    const tenant = newTenant();
    await change(tenant, { retention_days: 36_500 });
    await passWeek(tenant);
    const ids = await storeOld(tenant, 400, 2);
    const done = await cleanUp(tenant);
    expect(done).toEqual({ deleted: 0, complete: true, cutoff: "1970-01-01T00:00:00.000Z" });
    expect(await idsOf(tenant)).toEqual(ids);
  });
});
