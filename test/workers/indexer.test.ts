import { sql } from "drizzle-orm";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { ReceivedMessage } from "../../aws/sqs.ts";
import { indexMessages, searchRetries } from "../../consumers/indexer/index-messages.ts";
import { Refresher } from "../../consumers/indexer/refresher.ts";
import type { Outcome } from "../../consumers/settle-messages.ts";
import { firstIdAt } from "../../events/ids.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { createLogger } from "../../platform/logger.ts";
import { withRetries } from "../../platform/retry.ts";
import { connectSearch } from "../../search/client.ts";
import { refreshIndices } from "../../search/index-logs.ts";
import { ensureMonthIndex } from "../../search/index-template.ts";
import { newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { nowhere, searchMissing, workerEnv } from "./tools.ts";

const logger = createLogger("test", "ERROR");

/** The month after next: its index is this file's alone, so that it may be broken. */
const month = (() => {
  const now = new Date();
  return new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 2, 1));
})();
const monthName = month.toISOString().slice(0, 7).replace("-", ".");
let n = 0;

/** Puts logs into the database as a write would have, in the month after next. */
async function storeLogs(
  tenant: string,
  fields: { user_id?: string; text?: string; session_id?: string }[],
): Promise<string[]> {
  const ids = fields.map(() =>
    firstIdAt(month.getTime() + 1000 * ++n + 1).replace(
      "-0000-0000-0000",
      `-7000-8${Math.random().toString(16).slice(2, 5)}-0000`,
    ),
  );
  for (const [at, one] of fields.entries()) {
    await ownerOf().execute(sql`
      with stored as (
        insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, user_id, session_id, metadata, before_state, after_state, targets)
        values (${ids[at]}, ${tenant}, ${month.toISOString()}, now(), 't', 'a', 'INFO', 'user', 'r', '1', ${one.user_id ?? null}, ${one.session_id ?? null}, ${JSON.stringify({ text: one.text ?? "" })}::json, '{}', '{}', '[]')
      )
      insert into pending_index (tenant_id, log_id) values (${tenant}, ${ids[at]})`);
  }
  return ids;
}

function messageFor(tenant: string, ids: string[], receiveCount = 1): ReceivedMessage {
  const body = JSON.stringify({
    v: 1,
    type: "index",
    tenant_id: tenant,
    log_ids: ids,
    request_id: "req",
  });
  return { messageId: crypto.randomUUID(), receiptHandle: "r", body, receiveCount };
}

describe.skipIf(searchMissing !== "")(`the indexer (skipped: ${searchMissing})`, () => {
  const search = connectSearch(requireSection(parseConfig(workerEnv), "search"), 10_000);
  const index = async (
    messages: ReceivedMessage[],
    client = search,
    readForMs?: number,
  ): Promise<Outcome[]> => {
    const refresh = (aliases: Iterable<string>) =>
      withRetries(searchRetries, () => refreshIndices(client, aliases));
    const refresher = new Refresher(refresh, 50);
    const handled = await indexMessages(messages, {
      db: ownerOf(),
      search: client,
      refresher,
      logger,
      readForMs,
    });
    return handled.outcomes;
  };
  const pending = async (tenant: string) =>
    (
      await rowsOf(
        sql`select log_id from pending_index where tenant_id = ${tenant} order by log_id`,
      )
    ).map((row) => row["log_id"]);
  const indexed = async (tenant: string): Promise<string[]> => {
    const { body } = await search.search({
      index: "audit-logs",
      routing: tenant,
      body: { size: 1000, query: { term: { tenant_id: tenant } } },
    });
    return body.hits.hits.map((hit) => hit._id ?? "").toSorted();
  };

  beforeAll(async () => {
    // In this index a user_id that is no number is a document that can never be indexed.
    // Twice, as by two indexers: the second finds it made.
    await ensureMonthIndex(search, monthName);
    await ensureMonthIndex(search, monthName);
    await search.indices.delete({ index: `audit-logs-${monthName}-1` });
    await search.indices.create({
      index: `audit-logs-${monthName}-1`,
      body: {
        mappings: { properties: { user_id: { type: "long" } } },
        aliases: { "audit-logs": {}, [`audit-logs-${monthName}`]: {} },
      },
    });
  });

  afterEach(() => {
    vi.restoreAllMocks();
  });

  afterAll(async () => {
    await search.indices.delete({ index: `audit-logs-${monthName}-1` });
  });

  test("indexes what several messages name, and empties the outbox", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}, {}, {}]);
    const messages = [messageFor(tenant, ids.slice(0, 2)), messageFor(tenant, ids.slice(2))];
    expect((await index(messages)).map((outcome) => outcome.to)).toEqual(["delete", "delete"]);
    expect(await indexed(tenant)).toEqual(ids);
    expect(await pending(tenant)).toEqual([]);
  });

  test("does nothing for a message that comes again, or names what is not there", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}]);
    await index([messageFor(tenant, ids)]);
    const again = [
      messageFor(tenant, ids),
      messageFor(newTenant(), ids),
      messageFor(tenant, [crypto.randomUUID()]),
    ];
    expect((await index(again)).map((outcome) => outcome.to)).toEqual([
      "delete",
      "delete",
      "delete",
    ]);
    expect(await indexed(tenant)).toEqual(ids);
  });

  test("takes logs that are very large in several batches, and loses none", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, veryLarge(40));
    const bulks: number[] = [];
    const sent = globalThis.fetch;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const isBulk = input instanceof Request && input.url.includes("_bulk");
      if (isBulk) bulks.push((await input.clone().text()).length);
      return sent(input, init);
    });
    const outcomes = await index([messageFor(tenant, ids)]);
    vi.restoreAllMocks();
    expect(outcomes.map((outcome) => outcome.to)).toEqual(["delete"]);
    expect(bulks.length).toBeGreaterThan(3);
    expect(Math.max(...bulks)).toBeLessThan(5 * 1024 * 1024);
    expect(await indexed(tenant)).toEqual(ids);
  });

  const veryLarge = (count: number) =>
    Array.from({ length: count }, () => ({ text: "word ".repeat(50_000) }));

  test("has done what it did of very large logs when a later batch of them fails", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, veryLarge(60));
    const sent = globalThis.fetch;
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const isBulk = input instanceof Request && input.url.includes("_bulk");
      if (isBulk && (await input.clone().text()).includes(ids.at(-1) ?? ""))
        throw new Error("gone");
      return sent(input, init);
    });
    const outcomes = await index([messageFor(tenant, ids)]);
    vi.restoreAllMocks();
    expect(outcomes.map((outcome) => outcome.to)).toEqual(["give-back"]);
    const left = await pending(tenant);
    expect(left.length).toBeGreaterThan(0);
    expect(left.length).toBeLessThan(40);
    expect(await indexed(tenant)).toEqual(expect.arrayContaining(ids.slice(0, 60 - left.length)));

    expect((await index([messageFor(tenant, ids, 2)])).map((one) => one.to)).toEqual(["delete"]);
    expect(await indexed(tenant)).toEqual(ids);
    expect(await pending(tenant)).toEqual([]);
  });

  test("leaves what it has no time for to a later receive, and at the last to the sweep", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, veryLarge(70));
    const [first, second] = [messageFor(tenant, ids.slice(0, 5)), messageFor(tenant, ids.slice(5))];
    expect(await index([first, second], search, 0)).toMatchObject([
      { message: first, to: "delete" },
      { message: second, to: "retry" },
    ]);
    const left = await pending(tenant);
    expect(left.length).toBeGreaterThan(0);
    expect(await indexed(tenant)).toEqual(ids.slice(0, 70 - left.length));

    const last = messageFor(tenant, ids.slice(5), 4);
    expect((await index([last], search, 0)).map((one) => one.to)).toEqual(["delete"]);
    const leftToSweep = await pending(tenant);
    expect(leftToSweep.length).toBeGreaterThan(0);
    expect(leftToSweep.length).toBeLessThan(left.length);
  });

  test("buries a poisoned log again where it died between writing that down and sending it", async () => {
    const tenant = newTenant();
    const [good, bad] = await storeLogs(tenant, [{}, { user_id: "no number" }]);
    const message = messageFor(tenant, [good, bad].map(String));
    await index([message]);
    const [again] = await index([{ ...message, receiveCount: 2 }]);
    expect(again).toMatchObject({
      to: "dead-letter",
      reason: expect.stringContaining("mapper_parsing_exception"),
    });
    expect(again?.to === "dead-letter" && JSON.parse(again.body)).toMatchObject({ log_ids: [bad] });
  });

  test("records a poisoned log, sends it alone to the dead letters, and indexes its neighbours", async () => {
    const tenant = newTenant();
    const [good, bad, other] = await storeLogs(tenant, [{}, { user_id: "no number" }, {}]);
    const message = messageFor(tenant, [good, bad, other].map(String));
    const [outcome] = await index([message]);
    expect(outcome).toMatchObject({
      message,
      to: "dead-letter",
      reason: expect.stringContaining("mapper_parsing_exception"),
    });
    expect(outcome?.to === "dead-letter" && JSON.parse(outcome.body)).toMatchObject({
      tenant_id: tenant,
      log_ids: [bad],
    });
    expect(await indexed(tenant)).toEqual([good, other]);
    expect(await pending(tenant)).toEqual([]);
    const [failure] = await rowsOf(
      sql`select log_id, reason from index_failures where tenant_id = ${tenant}`,
    );
    expect(failure).toMatchObject({
      log_id: bad,
      reason: expect.stringContaining("mapper_parsing_exception"),
    });
  });

  test("tries later what the index does not take now, and leaves it to the sweep before it counts as dead", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}]);
    await search.indices.putSettings({
      index: `audit-logs-${monthName}-1`,
      body: { "index.blocks.write": true },
    });
    try {
      const [first] = await index([messageFor(tenant, ids)]);
      expect(first).toMatchObject({ to: "retry", delaySeconds: expect.any(Number) });
      const [last] = await index([messageFor(tenant, ids, 4)]);
      expect(last?.to).toBe("delete");
      expect(await pending(tenant)).toEqual(ids);
    } finally {
      await search.indices.putSettings({
        index: `audit-logs-${monthName}-1`,
        body: { "index.blocks.write": false },
      });
    }
    await index([messageFor(tenant, ids)]);
    expect(await pending(tenant)).toEqual([]);
  });

  test("never lets an older revision replace a newer one", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{ session_id: "old" }]);
    await ownerOf().execute(sql`update pending_index set rev = 2 where tenant_id = ${tenant}`);
    await index([messageFor(tenant, ids)]);
    await ownerOf().execute(
      sql`update audit_logs set session_id = 'stale' where tenant_id = ${tenant}`,
    );
    await ownerOf().execute(
      sql`insert into pending_index (tenant_id, log_id, rev) values (${tenant}, ${ids[0]}, 1)`,
    );
    expect((await index([messageFor(tenant, ids)])).map((outcome) => outcome.to)).toEqual([
      "delete",
    ]);
    const { body } = await search.search({
      index: "audit-logs",
      routing: tenant,
      body: { query: { term: { session_id: "old" } } },
    });
    expect(body.hits.hits).toHaveLength(1);
  });

  test.each([
    "",
    "{",
    "[]",
    '{"v":2}',
    JSON.stringify({ v: 1, type: "index", tenant_id: "t", log_ids: [], request_id: "" }),
  ])("sends %j, which is no message of ours, to the dead letters as it is", async (body) => {
    const [outcome] = await index([{ messageId: "m", receiptHandle: "r", body, receiveCount: 1 }]);
    expect(outcome).toMatchObject({ to: "dead-letter", body, reason: "not an index message" });
  });

  /** Lets the first answers to a path of OpenSearch be these, and counts how often it was asked. */
  function answerFirst(path: string, answers: (() => Response)[]) {
    const real = globalThis.fetch;
    const seen = { count: 0 };
    vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
      const { pathname } = new URL(input instanceof Request ? input.url : input);
      if (!pathname.endsWith(path)) return real(input, init);
      seen.count++;
      const first = answers.shift();
      if (first) return first();
      return real(input, init);
    });
    return seen;
  }
  const busy = (status: number) => () =>
    new Response("busy", { status, headers: { "Retry-After": "0" } });
  const reset = () => {
    throw new Error("connection reset");
  };

  test.each([
    ["a bulk", "/_bulk", [busy(429), reset]],
    ["a refresh", "/_refresh", [busy(503), reset]],
  ])("tries %s again that OpenSearch did not take as a whole", async (_what, path, answers) => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}]);
    const seen = answerFirst(path, answers);
    const outcomes = await index([messageFor(tenant, ids)]);
    expect(outcomes.map((outcome) => outcome.to)).toEqual(["delete"]);
    expect(seen.count).toBe(3);
    expect(await pending(tenant)).toEqual([]);
  });

  test("gives messages back that OpenSearch does not take three times in a row", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}]);
    const seen = answerFirst("/_bulk", [busy(503), busy(503), busy(503)]);
    const outcomes = await index([messageFor(tenant, ids)]);
    expect(outcomes.map((outcome) => outcome.to)).toEqual(["give-back"]);
    expect(seen.count).toBe(3);
    expect(await pending(tenant)).toEqual(ids);
  });

  test("says of each message how long it waited, and how long each step took", async () => {
    const lines: string[] = [];
    vi.spyOn(console, "log").mockImplementation((line) => void lines.push(line));
    const tenant = newTenant();
    const message = messageFor(tenant, await storeLogs(tenant, [{}]));
    const { outcomes } = await indexMessages([{ ...message, sentAt: Date.now() - 5_000 }], {
      db: ownerOf(),
      search,
      refresher: new Refresher((months) => refreshIndices(search, months), 0),
      logger: createLogger("consumer_log_consumer_logger", "INFO"),
    });
    await outcomes;
    const ms = expect.any(Number);
    const [line, ...more] = lines.map((one) => JSON.parse(one));
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      event: "indexed",
      request_id: "req",
      tenant_id: tenant,
      read_ms: ms,
      bulk_ms: ms,
      refresh_ms: ms,
      searchable_ms: ms,
    });
    expect(line.queue_ms).toBeGreaterThanOrEqual(5_000);
    expect(line.queue_ms).toBeLessThan(10_000);
  });

  test("gives messages back where OpenSearch does not answer, and keeps the outbox", async () => {
    const tenant = newTenant();
    const ids = await storeLogs(tenant, [{}]);
    const deaf = connectSearch({ node: nowhere, auth: undefined }, 1_000);
    const messages = [
      messageFor(tenant, ids),
      { ...messageFor(tenant, ids), body: "no message of ours" },
    ];
    const outcomes = await index(messages, deaf);
    expect(outcomes.map((outcome) => outcome.to).toSorted()).toEqual(["dead-letter", "give-back"]);
    expect(await pending(tenant)).toEqual(ids);
  });
});
