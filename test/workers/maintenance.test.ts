import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import maintenance from "../../consumers/maintenance/index.ts";
import { isTimeToWork } from "../../consumers/maintenance/is-time-to-work.ts";
import { backpressureSeconds, readBacklog, recordBackpressure } from "../../db/backlog.ts";
import { readServiceFigures } from "../../db/counters.ts";
import { putBack } from "../../db/repairs.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { storeOld } from "./old-logs.ts";
import { newQueue, sqs, sqsConfig } from "./queues.ts";
import { nowhere, workersWith } from "./tools.ts";

const minute = 60_000;
/** A minute after a full hour: not one of those in which the work is done whatever happens. */
const now = Date.UTC(2026, 10, 24, 8, 1);

let events: Record<string, unknown>[] = [];
beforeEach(() => {
  events = [];
  for (const level of ["log", "warn", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void events.push(JSON.parse(line)));
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe("a minute's work", () => {
  const pollers = (status: () => Promise<unknown>) => ({ getByName: () => ({ status }) }) as never;
  const lastActive = (lastActivityAt: number | null) =>
    pollers(async () => ({ pollers: 0, lastActivityAt }));
  const queues = async () => {
    const [logs, exports] = await Promise.all([newQueue(), newQueue()]);
    return { ...sqsConfig, logQueueUrl: logs.url, exportQueueUrl: exports.url };
  };

  test("is done every 15 minutes where nothing happens", async () => {
    const config = await queues();
    const worked: number[] = [];
    for (let n = 0; n < 60; n++) {
      const at = now + n * minute;
      if (await isTimeToWork(at, config, [lastActive(null), lastActive(now - 11 * minute)]))
        worked.push(new Date(at).getUTCMinutes());
    }
    expect(worked).toEqual([15, 30, 45, 0]);
  });

  test("is done while a poller was active in the last ten minutes", async () => {
    const config = await queues();
    const isTime = (at: number) => isTimeToWork(now, config, [lastActive(null), lastActive(at)]);
    expect(await isTime(now)).toBe(true);
    expect(await isTime(now - 9.9 * minute)).toBe(true);
    expect(await isTime(now - 10.1 * minute)).toBe(false);
  });

  test("is done while a queue has messages, waiting or in flight", async () => {
    const config = await queues();
    const isTime = () => isTimeToWork(now, config, [lastActive(null)]);
    expect(await isTime()).toBe(false);
    await sqs.send(config.exportQueueUrl, [{ body: "{}", groupId: "g" }]);
    expect(await isTime()).toBe(true);
    const messages = await sqs.receive(config.exportQueueUrl, 60);
    expect(await isTime()).toBe(true);
    await sqs.delete(config.exportQueueUrl, messages);
    expect(await isTime()).toBe(false);
  });

  test("is done where a poller or SQS cannot be asked: it may be busy", async () => {
    const deaf = pollers(() => Promise.reject(new Error("not there")));
    expect(await isTimeToWork(now, await queues(), [deaf])).toBe(true);
    const unreachable = { ...sqsConfig, endpoint: nowhere };
    expect(await isTimeToWork(now, unreachable, [lastActive(null)])).toBe(true);
    expect(await isTimeToWork(now, undefined, [lastActive(null)])).toBe(false);
  });

  test("ends with one event that says what was found and how long each job took", async () => {
    await maintenance.scheduled(
      createScheduledController({ scheduledTime: new Date(now - minute) }),
      {
        ...env,
        LOG_LEVEL: "INFO",
      } as never,
    );
    expect(events.filter(({ event }) => event === "maintenance")).toEqual([
      expect.objectContaining({
        logger: "maintenance_logger",
        "outbox.logs": expect.any(Number),
        "outbox.oldest_age_seconds": expect.any(Number),
        backpressure: false,
        sweep_logs_ms: expect.any(Number),
        duration_ms: expect.any(Number),
      }),
    ]);
  });
});

describe("backpressure", () => {
  /** A log that was stored so many seconds ago and still waits, of a tenant of its own. */
  async function waitingFor(seconds: number): Promise<string> {
    const tenant = newTenant();
    await rowsOf(sql`
      insert into pending_index (tenant_id, log_id, due_at)
      values (${tenant}, audit_log_id(clock_timestamp() - make_interval(secs => ${seconds}), 0), now() + interval '1 hour')`);
    return tenant;
  }
  const remove = (tenant: string) =>
    rowsOf(sql`delete from pending_index where tenant_id = ${tenant}`);
  const reset = () => rowsOf(sql`update backpressure set is_on = false`);
  const work = () =>
    maintenance.scheduled(createScheduledController({ scheduledTime: new Date(now - minute) }), {
      ...env,
      LOG_LEVEL: "WARNING",
    } as never);
  const told = () =>
    events.flatMap(({ event, level }) =>
      String(event).startsWith("backpressure_") ? [`${String(level)} ${String(event)}`] : [],
    );
  beforeEach(reset);
  afterEach(reset);

  test("is read from the outbox: how many wait, and for how long the oldest does", async () => {
    const before = await readBacklog(ownerOf());
    const tenant = await waitingFor(3_600);
    try {
      const { logs, oldestAgeSeconds, backpressure } = await readBacklog(ownerOf());
      expect(logs).toBe(before.logs + 1);
      expect(oldestAgeSeconds).toBeGreaterThanOrEqual(3_600);
      expect(oldestAgeSeconds).toBeLessThan(3_700);
      expect(backpressure).toBe(true);
    } finally {
      await remove(tenant);
    }
  });

  test("does not begin where a repair puts back a log of last year", async () => {
    const tenant = newTenant();
    const [id = ""] = await storeOld(tenant, 400, 1);
    const before = await readServiceFigures(ownerOf());
    try {
      expect(await putBack(ownerOf(), tenant, [{ id, minRev: 1 }], "missing")).toBe(1);
      const { oldestAgeSeconds } = await readBacklog(ownerOf());
      expect(oldestAgeSeconds).toBeLessThanOrEqual(before.outbox.oldestAgeSeconds + 60);
      const after = await readServiceFigures(ownerOf());
      expect(after.outbox.logs).toBe(before.outbox.logs + 1);
      expect(after.outbox.oldestAgeSeconds).toBeLessThan(before.outbox.oldestAgeSeconds + 60);
      // What is not searchable is of last year all the same.
      expect(after.indexLagSeconds).toBeGreaterThan(399 * 86_400);
    } finally {
      await remove(tenant);
      await rowsOf(sql`delete from audit_logs where tenant_id = ${tenant}`);
    }
  });

  test("is told once when it begins and once when it ends, and writes go on", async () => {
    const tenant = await waitingFor(backpressureSeconds + 60);
    try {
      await work();
      await work();
      expect(told()).toEqual(["WARNING backpressure_began"]);
      await callerOf(workersWith({}), { tenant_id: newTenant() }).create();
    } finally {
      await remove(tenant);
    }
    await work();
    await work();
    expect(told()).toEqual(["WARNING backpressure_began", "WARNING backpressure_ended"]);
  });

  test("is told by one of several runs at once", async () => {
    const backlog = { logs: 1, oldestAgeSeconds: backpressureSeconds + 1, backpressure: true };
    const all = await Promise.all(
      Array.from({ length: 8 }, () => recordBackpressure(ownerOf(), backlog)),
    );
    expect(all.filter((one) => one !== undefined)).toEqual([
      { event: "began", afterSeconds: expect.any(Number) },
    ]);
  });

  test("does not end before the oldest log waits for half of the limit only", async () => {
    const record = (oldestAgeSeconds: number) =>
      recordBackpressure(ownerOf(), {
        logs: 1,
        oldestAgeSeconds,
        backpressure: oldestAgeSeconds > backpressureSeconds,
      });
    expect((await record(backpressureSeconds + 1))?.event).toBe("began");
    expect(await record(backpressureSeconds)).toBeUndefined();
    expect(await record(backpressureSeconds / 2 + 1)).toBeUndefined();
    expect((await record(backpressureSeconds / 2))?.event).toBe("ended");
    expect(await record(backpressureSeconds)).toBeUndefined();
  });
});
