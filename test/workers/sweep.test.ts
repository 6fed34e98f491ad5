import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { describe, expect, test, vi } from "vitest";
import exporter from "../../consumers/exporter/index.ts";
import indexer from "../../consumers/indexer/index.ts";
import maintenance from "../../consumers/maintenance/index.ts";
import { sweepOutbox } from "../../consumers/maintenance/sweep-outbox.ts";
import { leaseOverdue } from "../../db/outbox.ts";
import { parseIndexMessage } from "../../events/messages.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { drain, newQueue, sqs, sqsConfig } from "./queues.ts";
import { nowhere, workers, workersWith } from "./tools.ts";

const withoutSqs = workersWith({ SQS_ENDPOINT: nowhere });
const makeOverdue = (tenant: string) =>
  rowsOf(
    sql`update pending_index set due_at = now() - interval '1 hour' where tenant_id = ${tenant}`,
  );
const dueIn = async (tenant: string) => {
  const [row] = await rowsOf(
    sql`select attempts, extract(epoch from due_at - clock_timestamp())::int as seconds from pending_index where tenant_id = ${tenant}`,
  );
  return row;
};
const runCron = async (
  worker: typeof maintenance | typeof indexer | typeof exporter,
  changes: object = {},
) => {
  await worker.scheduled(createScheduledController(), { ...env, ...changes } as never);
};

describe("the outbox sweep", () => {
  test("makes a log searchable whose message was never sent, and the answer was 201 all the same", async () => {
    const tenant = newTenant();
    vi.spyOn(console, "warn").mockImplementation(() => {});
    await callerOf(withoutSqs, { tenant_id: tenant }).create({ description: "unsent" });
    vi.restoreAllMocks();
    const caller = callerOf(workers, { tenant_id: tenant });
    expect((await caller.list()).indexed_through < new Date().toISOString()).toBe(true);
    await makeOverdue(tenant);
    await runCron(maintenance);
    await caller.settled();
    expect((await caller.list({ search: "unsent" })).total).toBe(1);
  });

  test("leaves alone what has not waited long enough", async () => {
    const tenant = newTenant();
    await callerOf(withoutSqs, { tenant_id: tenant }).create();
    await leaseOverdue(ownerOf(), 1000);
    expect(await dueIn(tenant)).toMatchObject({ attempts: 0 });
  });

  test("waits longer after each time that it sent a row", async () => {
    const tenant = newTenant();
    await callerOf(withoutSqs, { tenant_id: tenant }).create();
    const waits: number[] = [];
    for (let n = 0; n < 9; n++) {
      await makeOverdue(tenant);
      await leaseOverdue(ownerOf(), 1000);
      waits.push(Math.round(Number((await dueIn(tenant))?.["seconds"]) / 10) * 10);
    }
    expect(waits).toEqual([30, 60, 120, 240, 480, 960, 1920, 3600, 3600]);
  });

  test("sends each row once where two sweeps run at once", async () => {
    const tenants = [newTenant(), `${newTenant()} with an odd name 🔥 ${"x".repeat(128)}`];
    for (const tenant of tenants) {
      await callerOf(withoutSqs, { tenant_id: tenant }).createAll(
        Array.from({ length: 100 }, () => ({})),
      );
      await callerOf(withoutSqs, { tenant_id: tenant }).createAll(
        Array.from({ length: 50 }, () => ({})),
      );
      await makeOverdue(tenant);
    }
    const { url } = await newQueue();
    const counts = await Promise.all([1, 2, 3].map(() => sweepOutbox(ownerOf(), sqs, url)));
    const sent = (await drain(url)).map((body) => parseIndexMessage(body));
    expect(sent.every((message) => message !== undefined)).toBe(true);
    const ids = sent.flatMap((message) =>
      message && tenants.includes(message.tenant_id) ? message.log_ids : [],
    );
    expect(ids.length).toBe(300);
    expect(new Set(ids).size).toBe(300);
    expect(counts.reduce((sum, count) => sum + count)).toBeGreaterThanOrEqual(300);
  });

  test("adds nothing to a queue that is behind, but for rows that have waited for very long", async () => {
    const { url } = await newQueue();
    await sqs.send(url, [{ body: "waiting", groupId: "g" }]);
    const [recent, old] = [newTenant(), newTenant()];
    for (const tenant of [recent, old]) await callerOf(withoutSqs, { tenant_id: tenant }).create();
    await rowsOf(
      sql`update pending_index set due_at = now() - interval '9 minutes' where tenant_id = ${recent}`,
    );
    await rowsOf(
      sql`update pending_index set due_at = now() - interval '11 minutes' where tenant_id = ${old}`,
    );
    await sweepOutbox(ownerOf(), sqs, url);
    const sent = (await drain(url)).map((body) => parseIndexMessage(body)?.tenant_id);
    expect(sent).toContain(old);
    expect(sent).not.toContain(recent);
  });

  test("says what failed and ends well where the database or SQS does not answer", async () => {
    const log = vi.spyOn(console, "error").mockImplementation(() => {});
    await runCron(maintenance, { DATABASE_URL: "" });
    await runCron(indexer, { SQS_ENDPOINT: nowhere });
    await runCron(exporter, { SQS_ENDPOINT: nowhere });
    expect(log.mock.calls.map(([line]) => JSON.parse(String(line)).event)).toEqual([
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "maintenance_failed",
      "watchdog_failed",
      "watchdog_failed",
    ]);
    vi.restoreAllMocks();
  });
});

describe("the watchdog", () => {
  test("wakes the poller where messages wait, and only there", async () => {
    const { url } = await newQueue();
    const wake = vi.fn(async () => {});
    const bindings = { SQS_LOG_QUEUE_URL: url, LOG_POLLER: { getByName: () => ({ wake }) } };
    await runCron(indexer, bindings);
    expect(wake).not.toHaveBeenCalled();
    await sqs.send(url, [{ body: "{}", groupId: "g" }]);
    await runCron(indexer, bindings);
    expect(wake).toHaveBeenCalledOnce();
    await runCron(exporter, {
      SQS_EXPORT_QUEUE_URL: url,
      EXPORT_POLLER: { getByName: () => ({ wake }) },
    });
    expect(wake).toHaveBeenCalledTimes(2);
    expect(sqsConfig.logQueueUrl).not.toBe(url);
  });
});
