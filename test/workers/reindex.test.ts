import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import maintenance from "../../consumers/maintenance/index.ts";
import { callerOf, expectProblem, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { pollers } from "./pollers.ts";
import { searchMissing, workers, workersWith } from "./tools.ts";

const path = "/api/v1/operations/reindex";
const admin = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "operator" });
const month = new Date().toISOString().slice(0, 7).replace("-", ".");
const answer = z.object({
  data: z.array(
    z.strictObject({
      month: z.string(),
      state: z.string(),
      source_index: z.string().nullable(),
      target_index: z.string().nullable(),
      logs_copied: z.number(),
      logs_total: z.number().nullable(),
      progress: z.number().nullable(),
      error: z.string().nullable(),
      requested_by: z.string(),
      requested_at: z.iso.datetime(),
      finished_at: z.iso.datetime().nullable(),
    }),
  ),
});
const monthOf = (body: unknown) => answer.parse(body).data.find((one) => one.month === month);
const runCron = () => maintenance.scheduled(createScheduledController(), env as never);

describe.skipIf(searchMissing !== "")(`reindexing (skipped: ${searchMissing})`, () => {
  // Tests before may have left it asleep a moment after the API woke it last.
  beforeAll(() => pollers.LOG_POLLER.getByName("poller-0").wake());
  afterEach(() => vi.restoreAllMocks());

  test("is begun and watched by a platform admin, and the cron does the work: searches go on", async () => {
    for (const method of ["log", "warn"] as const)
      vi.spyOn(console, method).mockImplementation(() => {});
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const id = await caller.create({ description: "stays" });
    await caller.settled();
    const begun = await admin.post(path, { month });
    expect(begun.status, begun.text).toBe(202);
    expect(monthOf(begun.body)).toMatchObject({ state: "PENDING", requested_by: "operator" });
    for (let run = 0; run < 50 && monthOf((await admin.get(path)).body)?.state !== "DONE"; run++) {
      await rowsOf(sql`update reindexes set swapped_at = swapped_at - interval '1 minute'`);
      await runCron();
      expect((await caller.list({ search: "stays" })).items.map((item) => item.id)).toEqual([id]);
    }
    expect(monthOf((await admin.get(path)).body)).toMatchObject({
      state: "DONE",
      progress: 1,
      error: null,
    });
    const later = await caller.create({ description: "comes" });
    await caller.settled();
    expect((await caller.list({ search: "comes" })).items.map((item) => item.id)).toEqual([later]);
  }, 120_000);

  test("may be asked for again while it runs, and given up", async () => {
    await admin.post(path, { month });
    const [again, given] = [
      await admin.post(path, { month }),
      await admin.call("DELETE", `${path}/${month}`),
    ];
    expect(monthOf(again.body)?.state).toBe("PENDING");
    expect(monthOf(given.body)?.state).toBe("CANCELLING");
    expect((await admin.call("DELETE", `${path}/${month}`)).status).toBe(200);
    await runCron();
    expect(monthOf((await admin.get(path)).body)?.state).toBe("CANCELLED");
    expectProblem(await admin.call("DELETE", `${path}/${month}`), 409, "conflict");
  }, 120_000);

  test("refuses what is no month, a month that has not come, and a service without search", async () => {
    expect(
      expectProblem(await admin.post(path, { month: "2026-11" }), 422, "validation_failed"),
    ).toEqual(["/month"]);
    expect(
      expectProblem(await admin.post(path, { months: [] }), 422, "validation_failed"),
    ).toHaveLength(1);
    expectProblem(await admin.post(path, { month: "2199.01" }), 404, "not_found");
    expectProblem(await admin.call("DELETE", `${path}/2199.01`), 404, "not_found");
    const deaf = callerOf(workersWith({ OPENSEARCH_HOST: undefined }), { role: "platform_admin" });
    vi.spyOn(console, "error").mockImplementation(() => {});
    expectProblem(await deaf.post(path, { month }), 503, "misconfigured");
  });
});
