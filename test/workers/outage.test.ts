import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { indexMessages } from "../../consumers/indexer/index-messages.ts";
import { Refresher } from "../../consumers/indexer/refresher.ts";
import maintenance from "../../consumers/maintenance/index.ts";
import { defaultPace } from "../../consumers/poll-queue.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { createLogger } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import { refreshIndices } from "../../search/index-logs.ts";
import { callerOf, entry, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { newPoller, nextTurn, pollers, restPollers } from "./pollers.ts";
import { drain, newQueue, sqs } from "./queues.ts";
import { nowhere, searchMissing, workerEnv, workers, workersWith } from "./tools.ts";

const deaf = connectSearch({ node: nowhere, auth: undefined }, 1_000);
const logger = createLogger("test", "ERROR");

beforeEach(() => {
  for (const level of ["log", "warn", "error"] as const) {
    vi.spyOn(console, level).mockImplementation(() => {});
  }
});
afterEach(async () => {
  await restPollers();
  vi.restoreAllMocks();
});

describe.skipIf(searchMissing !== "")(`an outage (skipped: ${searchMissing})`, () => {
  const search = connectSearch(requireSection(parseConfig(workerEnv), "search"), 10_000);
  /** Turns of two hours: of a poller that backs off for a minute at most. */
  const turnsOfTwoHours = 150;
  /** What is given back comes again at once: nothing here waits for hours. */
  const hurried = { ...defaultPace, giveBackSeconds: () => 0 };

  const awake = {
    getByName: () => ({
      wake: async () => {},
      status: async () => ({ pollers: 1, lastActivityAt: Date.now() }),
    }),
  };

  const index = async (url: string, from = search) => {
    const refresher = new Refresher((aliases) => refreshIndices(from, aliases), 0);
    const tools = { db: ownerOf(), search: from, refresher, logger };
    while ((await sqs.depth(url)).waiting > 0) {
      const messages = await sqs.receive(url, 60);
      await (
        await indexMessages(messages, tools)
      ).outcomes;
      await sqs.delete(url, messages);
    }
  };
  const waiting = async (tenant: string) =>
    (await rowsOf(sql`select log_id from pending_index where tenant_id = ${tenant}`)).length;

  /** As when everything that waits in the outbox is due: sends it again. */
  const sweep = async (tenant: string, url: string) => {
    await rowsOf(
      sql`update pending_index set due_at = now() - interval '1 hour' where tenant_id = ${tenant}`,
    );
    await maintenance.scheduled(createScheduledController(), {
      ...env,
      SQS_LOG_QUEUE_URL: url,
      LOG_POLLER: awake,
    } as never);
  };

  test.each([
    ["does not answer its probe", undefined, 0],
    // The hardest: each turn begins well, receives, and fails.
    ["answers every probe and fails all the same", async () => {}, 20],
  ])(
    "of two hours in which OpenSearch %s sends no message to the dead letters, and loses none",
    async (_how, probe, leastSweeps) => {
      // Jitter at its least: no retry is waited for.
      vi.spyOn(Math, "random").mockReturnValue(0);
      const { url, deadLetters } = await newQueue();
      const tenant = newTenant();
      const writer = callerOf(workersWith({ SQS_LOG_QUEUE_URL: url, LOG_POLLER: awake as never }), {
        tenant_id: tenant,
      });
      const ids = [
        await writer.create(),
        ...(await writer.createAll([{}, {}])),
        await writer.create(),
      ];
      const settings = { queueUrl: () => url, pace: hurried, ...(probe ? { probe } : {}) };
      const stub = await newPoller(settings, pollers.DEAF_POLLER);
      await stub.wake();
      let sweeps = 0;
      for (let turn = 0; turn < turnsOfTwoHours; turn++) {
        if ((await sqs.depth(url)).waiting === 0) {
          await sweep(tenant, url);
          sweeps++;
        }
        await nextTurn(stub);
      }
      expect(sweeps).toBeGreaterThanOrEqual(leastSweeps);
      expect(await drain(deadLetters)).toEqual([]);
      expect(await waiting(tenant)).toBe(ids.length);
      // The end of the outage.
      await drain(url);
      await sweep(tenant, url);
      await index(url);
      const caller = callerOf(workers, { tenant_id: tenant });
      await caller.settled();
      const found = await caller.list();
      expect(found.items.map((item) => item.id).toSorted()).toEqual(ids.toSorted());
      expect(found.source).toBe("opensearch");
    },
    60_000,
  );

  test("keeps indexed_through still on lists and stats until the index has caught up, and never lies", async () => {
    const tenant = newTenant();
    const queues = await Promise.all([newQueue(), newQueue(), newQueue()]);
    const writerTo = (n: number) =>
      callerOf(workersWith({ SQS_LOG_QUEUE_URL: queues[n]?.url, LOG_POLLER: awake as never }), {
        tenant_id: tenant,
      });
    const caller = callerOf(workers, { tenant_id: tenant });
    const urlOf = (n: number) => queues[n]?.url ?? "";
    const pause = () => new Promise((resolve) => setTimeout(resolve, 1_100));
    const stored: { id: string; created_at: string }[] = [];
    const write = async (n: number) => {
      const { body } = await writerTo(n).post("/api/v1/logs", entry());
      stored.push((body as { data: { id: string; created_at: string } }).data);
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    /** Reads the mark from each place that gives one, and checks it against what is found. */
    const mark = async () => {
      await pause();
      const [newest, oldest, stats] = await Promise.all([
        caller.list({ page_size: "100" }),
        caller.list({ page_size: "100", order: "asc" }),
        caller.get("/api/v1/logs/stats"),
      ]);
      const statistics = stats.body as { indexed_through: string; data: { total: number } };
      const found = new Set(newest.items.map((item) => item.id));
      const below = (through: string) => stored.filter((log) => log.created_at < through);
      for (const log of below(newest.indexed_through)) expect(found).toContain(log.id);
      expect(oldest.items.map((item) => item.id)).toEqual(
        below(oldest.indexed_through).map((log) => log.id),
      );
      expect(statistics.data.total).toBeGreaterThanOrEqual(
        below(statistics.indexed_through).length,
      );
      return [newest.indexed_through, oldest.indexed_through, statistics.indexed_through];
    };
    await write(0);
    await write(1);
    await write(2);
    const [first, second] = stored.map((log) => log.created_at);
    const still = [first, first, first];
    expect(await mark()).toEqual(still);
    expect(await mark()).toEqual(still);
    // What came later is searchable before: the mark stays with what is missing.
    await index(urlOf(1));
    expect((await caller.list()).total).toBe(1);
    expect(await mark()).toEqual(still);
    // Indexed, but the refresh fails: it may not be searchable.
    const halfDeaf = new Refresher((aliases) => refreshIndices(deaf, aliases), 0);
    const messages = await sqs.receive(urlOf(0), 60);
    const handled = await indexMessages(messages, {
      db: ownerOf(),
      search,
      refresher: halfDeaf,
      logger,
    });
    expect((await handled.outcomes).map((outcome) => outcome.to)).toEqual(["give-back"]);
    expect(await mark()).toEqual(still);
    await sqs.retryLater(
      urlOf(0),
      messages.map((message) => ({ message, delaySeconds: 0 })),
    );
    await index(urlOf(0));
    const third = stored[2]?.created_at;
    expect(await mark()).toEqual([third, third, third]);
    expect(third).not.toBe(second);
    await index(urlOf(2));
    await caller.settled();
    for (const through of await mark()) expect(through > (third ?? "")).toBe(true);
  });
});
