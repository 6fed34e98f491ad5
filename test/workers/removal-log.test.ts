import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { runRetention } from "../../consumers/maintenance/remove-old-logs.ts";
import maintenance from "../../consumers/maintenance/index.ts";
import { sqlState } from "../../db/client.ts";
import { removeOldLogs } from "../../db/remove-old-logs.ts";
import { askForRemoval, type RetentionRun } from "../../db/retention.ts";
import { nextRun, settleRun } from "../../db/retention-runs.ts";
import { type OwnEvent, ownLog } from "../../events/own-log.ts";
import { ownRecorder } from "../../events/own-actions.ts";
import { tenantMask } from "../../events/tenant-mask.ts";
import { createLogger } from "../../platform/logger.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { forgetWaiting, ownerOf, rowsOf } from "./database.ts";
import { loseAnswers } from "./lost-answers.ts";
import { dayMs, makeDue, passWeek, storeOld } from "./old-logs.ts";
import { ownLogs } from "./own-logs.ts";
import { workers, workersWith } from "./tools.ts";

afterAll(forgetWaiting);

const db = ownerOf();
const logger = createLogger("test", "ERROR");
const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "root" });

/** What the tenant's own logs say of removed logs. */
const removalsOf = async (tenant: string) =>
  (await ownLogs(tenant)).filter(({ action }) => action === "audit_log.logs_removed");
const toldOf = async (tenant: string) => (await removalsOf(tenant)).map(({ metadata }) => metadata);

const change = async (tenant: string, changes: object) => {
  await rowsOf(sql`insert into tenants (id) values (${tenant}) on conflict do nothing`);
  expect((await platform.call("PATCH", `/api/v1/tenants/${tenant}`, changes)).status).toBe(200);
};

/** A tenant whose daily run removes what is older than 30 days, from now on. */
async function tenantOf30Days(): Promise<string> {
  const tenant = newTenant();
  await change(tenant, { retention_days: 30 });
  await passWeek(tenant);
  return tenant;
}

async function ask(tenantId: string, sub = "alice"): Promise<RetentionRun> {
  const event: OwnEvent = { action: "audit_log.cleanup_started", resource_type: "audit_log" };
  const requester = {
    user_id: sub,
    actor_type: "user",
    ip_address: "203.0.113.9",
    user_agent: null,
    request_id: `req-of-${sub}`,
  } as const;
  const hashSecret = "0".repeat(32);
  const mask = tenantMask(null, tenantId, { hashSecret, extraKeys: [] });
  const recording = { tenantId, recordedBy: ownRecorder, mask, hashSecret };
  const log = ownLog(event, requester, recording);
  const { run } = await askForRemoval(db, { tenantId, userId: null }, 90, log);
  if (!run) throw new Error("under a hold");
  return run;
}

/** One chunk of so many logs, and then no time is left. */
const removeSome = (run: RetentionRun, most: number) =>
  removeOldLogs(db, run, 0, { first: most, most });

describe("what a cleanup has removed", () => {
  test("is recorded when it is done: how many, older than what, and who asked for it", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 3);
    await storeOld(tenant, 89, 1);
    const admin = callerOf(workers, { tenant_id: tenant, sub: "nora" });
    const headers = { "CF-Connecting-IP": "203.0.113.9", "X-Request-Id": "req-1" };
    const { body } = await admin.call("DELETE", "/api/v1/logs/cleanup", undefined, headers);
    const { data } = z.object({ data: z.object({ cutoff: z.string() }) }).parse(body);
    await vi.waitFor(async () => expect(await removalsOf(tenant)).toHaveLength(1));
    const asker = {
      user_id: "nora",
      actor_type: "user",
      ip_address: "203.0.113.9",
      request_id: "req-1",
      resource_type: "audit_log",
      resource_id: "*",
      recorded_by: ownRecorder,
      outcome: "success",
    };
    expect(await ownLogs(tenant)).toMatchObject([
      { ...asker, action: "audit_log.cleanup_started", metadata: { cutoff: data.cutoff } },
      {
        ...asker,
        action: "audit_log.logs_removed",
        metadata: { removed: 3, cutoff: data.cutoff, run: "cleanup", complete: true },
      },
    ]);
  });

  test("is asked for once where the database's answer was lost", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 3);
    const admin = callerOf(workersWith({}), { tenant_id: tenant });
    vi.spyOn(console, "warn").mockImplementation(() => {});
    loseAnswers(tenant, "first");
    const { status, body } = await admin.call("DELETE", "/api/v1/logs/cleanup");
    vi.restoreAllMocks();
    expect(status).toBe(200);
    expect(body).toMatchObject({ data: { deleted: 3, complete: true } });
    expect((await ownLogs(tenant)).map(({ action }) => action)).toEqual([
      "audit_log.cleanup_started",
      "audit_log.logs_removed",
    ]);
  });

  test("is no record where it was nothing", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 89, 1);
    const run = await ask(tenant);
    const { state } = await removeOldLogs(db, run, Infinity);
    expect(await settleRun(db, run, state)).toBeUndefined();
    expect(await removalsOf(tenant)).toEqual([]);
  });

  test("is masked as the log of who asked for it", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 1);
    await change(tenant, { masking: { fields: { user_id: "hash" } } });
    const admin = callerOf(workers, { tenant_id: tenant, sub: "nora" });
    expect((await admin.call("DELETE", "/api/v1/logs/cleanup")).status).toBe(200);
    await vi.waitFor(async () => expect(await removalsOf(tenant)).toHaveLength(1));
    const [asked, removed] = (await ownLogs(tenant)).slice(-2);
    expect(removed).toMatchObject({
      action: "audit_log.logs_removed",
      user_id: asked?.["user_id"],
      masked_fields: ["/user_id"],
    });
    const stored = await rowsOf(sql`
      select l::text as text from audit_logs l where tenant_id = ${tenant}
      union all select r::text from retention_runs r where tenant_id = ${tenant}`);
    expect(JSON.stringify(stored)).not.toContain("nora");
  });

  test("is one record, though Workers die between and after its chunks", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 10);
    // Neither the request nor the first run of the cron settles anything.
    await removeSome(await ask(tenant), 4);
    await makeDue(tenant);
    const again = await nextRun(db);
    expect(await removeOldLogs(db, again as RetentionRun, Infinity)).toMatchObject({
      state: "done",
    });
    expect(await removalsOf(tenant)).toEqual([]);
    expect(await runRetention(db, logger)).toMatchObject({ removed: 0 });
    expect(await toldOf(tenant)).toMatchObject([{ removed: 10, complete: true }]);
    await makeDue(tenant);
    await runRetention(db, logger);
    expect(await toldOf(tenant)).toHaveLength(1);
  });

  test("is each asker's own, where another asks in the middle", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 10);
    const first = await ask(tenant, "alice");
    await removeSome(first, 4);
    const second = await ask(tenant, "bob");
    // Her request still ends its own run, which is over.
    await settleRun(db, first, "done");
    const { state } = await removeOldLogs(db, second, Infinity);
    await settleRun(db, second, state);
    const time = (ms: number) => new Date(ms).toISOString();
    expect(await removalsOf(tenant)).toMatchObject([
      {
        user_id: "alice",
        request_id: "req-of-alice",
        metadata: { removed: 4, cutoff: time(first.cutoff), run: "cleanup", complete: false },
      },
      {
        user_id: "bob",
        request_id: "req-of-bob",
        metadata: { removed: 6, cutoff: time(second.cutoff), run: "cleanup", complete: true },
      },
    ]);
  });

  test("is recorded where a legal hold stops it", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 10);
    await removeSome(await ask(tenant), 4);
    await change(tenant, { legal_hold: true });
    await makeDue(tenant);
    await runRetention(db, logger);
    expect(await toldOf(tenant)).toMatchObject([{ removed: 4, complete: false }]);
    await makeDue(tenant);
    await runRetention(db, logger);
    expect(await toldOf(tenant)).toHaveLength(1);
  });

  test("is recorded where the rest waits for an export, and so is the rest", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 3);
    await storeOld(tenant, 100, 2);
    const idle = workersWith({ SQS_EXPORT_QUEUE_URL: undefined, SQS_LOG_QUEUE_URL: undefined });
    const admin = callerOf(idle, { tenant_id: tenant });
    const from = new Date(Date.now() - 101 * dayMs).toISOString();
    expect((await admin.post("/api/v1/logs/export", { filters: { from } })).status).toBe(202);
    await ask(tenant);
    const goOn = async () => {
      await makeDue(tenant);
      await runRetention(db, logger);
    };
    await goOn();
    await goOn();
    expect(await toldOf(tenant)).toMatchObject([{ removed: 3, complete: false }]);
    await rowsOf(sql`update export_pipelines set status = 'DONE' where tenant_id = ${tenant}`);
    await goOn();
    expect(await removalsOf(tenant)).toMatchObject([
      { metadata: { removed: 3, run: "cleanup", complete: false } },
      { user_id: "alice", metadata: { removed: 2, run: "cleanup", complete: true } },
    ]);
  });

  test("names the time that all of it was older than, also where logs come to be kept longer", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 500, 3);
    await storeOld(tenant, 100, 3);
    const run = await ask(tenant);
    await removeSome(run, 1);
    await change(tenant, { retention_days: 365 });
    const { state } = await removeOldLogs(db, run, Infinity);
    await settleRun(db, run, state);
    expect(await toldOf(tenant)).toMatchObject([
      { removed: 3, cutoff: new Date(run.cutoff).toISOString(), complete: true },
    ]);
  });

  test("goes on to be known where its log cannot be stored, and is recorded by the next", async () => {
    const tenant = newTenant();
    await storeOld(tenant, 400, 3);
    const run = await ask(tenant);
    await removeOldLogs(db, run, Infinity);
    const name = sql.identifier(`no_log_${crypto.randomUUID().replaceAll("-", "")}`);
    await rowsOf(sql`
      alter table pending_index add constraint ${name}
      check (tenant_id <> ${sql.raw(`'${tenant}'`)}) not valid`);
    await expect(settleRun(db, run, "done")).rejects.toSatisfy(
      (error) => sqlState(error) === "23514",
    );
    await rowsOf(sql`alter table pending_index drop constraint ${name}`);
    expect(await removalsOf(tenant)).toEqual([]);
    await makeDue(tenant);
    await runRetention(db, logger);
    expect(await toldOf(tenant)).toMatchObject([{ removed: 3, run: "cleanup" }]);
  });
});

describe("what the daily run has removed", () => {
  test("is recorded as the service's own doing, also of a tenant that is suspended", async () => {
    const tenant = await tenantOf30Days();
    await storeOld(tenant, 31, 3);
    await storeOld(tenant, 29, 2);
    await change(tenant, { status: "suspended" });
    await makeDue(tenant);
    const before = Date.now() - 30 * dayMs;
    await runRetention(db, logger);
    const [log, ...more] = await removalsOf(tenant);
    expect(more).toEqual([]);
    expect(log).toMatchObject({
      actor_type: "system",
      user_id: null,
      ip_address: null,
      request_id: null,
      recorded_by: ownRecorder,
      metadata: { removed: 3, run: "daily", complete: true },
    });
    const cutoff = Date.parse(String(log?.metadata["cutoff"]));
    expect(cutoff).toBeGreaterThanOrEqual(before - 1_000);
    expect(cutoff).toBeLessThan(before + 20_000);
  });

  test("can be searched for at once, as any other log", async () => {
    const tenant = await tenantOf30Days();
    await storeOld(tenant, 31, 3);
    await makeDue(tenant);
    // In this minute the work is done whatever happens.
    const scheduledTime = new Date(Date.UTC(2026, 10, 24, 8, 0));
    const quiet = { ...env, LOG_LEVEL: "ERROR" };
    await maintenance.scheduled(createScheduledController({ scheduledTime }), quiet as never);
    const admin = callerOf(workers, { tenant_id: tenant });
    await admin.settled();
    const { items } = await admin.list({
      action: "audit_log.logs_removed",
      "metadata.run": "daily",
    });
    expect(items).toMatchObject([{ metadata: { removed: 3 } }]);
  });

  test("makes one record a day where there are but such records to remove", async () => {
    const tenant = await tenantOf30Days();
    const [id = ""] = await storeOld(tenant, 31, 1);
    await rowsOf(sql`update audit_logs set action = 'audit_log.logs_removed' where id = ${id}`);
    for (let run = 0; run < 3; run++) {
      await makeDue(tenant);
      await runRetention(db, logger);
    }
    expect(await toldOf(tenant)).toMatchObject([{ removed: 1, run: "daily" }]);
  });

  test("is not the doing of an admin who asks in the middle of it", async () => {
    const tenant = await tenantOf30Days();
    await storeOld(tenant, 400, 6);
    await makeDue(tenant);
    const daily = await nextRun(db);
    await removeSome(daily as RetentionRun, 2);
    const run = await ask(tenant);
    const { state } = await removeOldLogs(db, run, Infinity);
    await settleRun(db, run, state);
    expect(await removalsOf(tenant)).toMatchObject([
      { actor_type: "system", metadata: { removed: 2, run: "daily", complete: false } },
      { user_id: "alice", metadata: { removed: 4, run: "cleanup", complete: true } },
    ]);
  });
});
