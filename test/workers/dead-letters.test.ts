import { env, runInDurableObject } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import type { QueuePoller } from "../../consumers/poll-queue.ts";
import { reviveLetters } from "../../db/revive-letters.ts";
import { firstIdAt } from "../../events/ids.ts";
import { exportMessageFor, indexMessagesFor } from "../../events/messages.ts";
import { ownRecorder } from "../../events/own-actions.ts";
import { serviceLog } from "../../events/service-log.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { ensureMonthIndex } from "../../search/index-template.ts";
import { callerOf, expectProblem, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { ownLogs } from "./own-logs.ts";
import { newQueue, newQueueWithoutDeadLetters, sqs } from "./queues.ts";
import { nowhere, searchMissing, workerEnv, workersWith } from "./tools.ts";

type Queue = { url: string; deadLetters: string };
type Poller = QueuePoller & Rpc.DurableObjectBranded;
const pollers = env as unknown as Record<string, DurableObjectNamespace<Poller>>;

const letter = z.looseObject({
  id: z.string(),
  queue: z.string(),
  message_id: z.string(),
  reason: z.string(),
  tenant_id: z.string().nullable(),
  log_ids: z.array(z.string()),
  first_failed_at: z.iso.datetime(),
  last_failed_at: z.iso.datetime(),
  failures: z.number(),
});
const counts = z.object({ count: z.number(), in_queue: z.number().nullable() });
const listing = z.strictObject({
  queues: z.strictObject({ log: counts, export: counts }),
  items: z.array(letter),
  next_cursor: z.string().nullable(),
});
const redriven = z.strictObject({
  data: z.strictObject({
    redriven: z.number(),
    failed: z.number(),
    not_found: z.array(z.string()),
    remaining: z.number(),
  }),
});

/** A platform admin of a service whose queues are these. */
function operatorOf(log: Queue, exports: Queue, changes: Record<string, string> = {}) {
  const queues = { SQS_LOG_QUEUE_URL: log.url, SQS_EXPORT_QUEUE_URL: exports.url, ...changes };
  const claims = { role: "platform_admin", tenant_id: undefined, sub: "operator" };
  const caller = callerOf(workersWith(queues), claims);
  const path = "/api/v1/operations/dead-letters";
  return {
    ...caller,
    path,
    async list(query = "") {
      const answer = await caller.get(`${path}?page_size=100${query}`);
      expect(answer.status, answer.text).toBe(200);
      return listing.parse(answer.body);
    },
    async of(tenant: string) {
      return (await this.list()).items.filter((item) => item.tenant_id === tenant);
    },
    async redrive(body?: object) {
      const answer = await caller.call("POST", `${path}/redrive`, body);
      expect(answer.status, answer.text).toBe(200);
      return redriven.parse(answer.body).data;
    },
  };
}

/** A poller of this queue alone, that does the real work. */
async function pollerOf(binding: string, url: string) {
  const stub = pollers[binding]?.getByName(crypto.randomUUID());
  if (!stub) throw new Error(`no binding ${binding}`);
  await runInDurableObject(stub, (poller) => Object.assign(poller, { queueUrl: () => url }));
  return stub;
}

/** Receives a message as often as the queue allows, without deleting it, so that SQS itself moves it. */
async function exhaust(queue: Queue): Promise<void> {
  while ((await sqs.depth(queue.deadLetters)).waiting === 0) {
    const messages = await sqs.receive(queue.url, 0, 10, 0);
    if (messages.length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What other tests have left: logs that the index refused are dead letters too. */
const forget = async () => {
  await rowsOf(sql`delete from index_failures`);
  await rowsOf(sql`delete from dead_letters`);
};

describe("dead letters", () => {
  // The queues are a test's own, the table is all tests'.
  beforeEach(forget);
  beforeAll(() => {
    for (const level of ["warn", "error"] as const)
      vi.spyOn(console, level).mockImplementation(() => {});
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await forget();
  });

  test("tell what SQS moved by its receive count, and lend nothing of it for longer than a moment", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const ids = [crypto.randomUUID(), crypto.randomUUID()];
    await sqs.send(log.url, indexMessagesFor(tenant, ids, "req-1"));
    await exhaust(log);
    const operator = operatorOf(log, exports);
    for (const _ of [1, 2]) {
      const list = await operator.list();
      expect(list.queues).toMatchObject({ log: { in_queue: 1 }, export: { in_queue: 0 } });
      const [found, ...more] = list.items.filter((item) => item.tenant_id === tenant);
      expect(more).toEqual([]);
      expect(found).toMatchObject({
        queue: "log",
        reason: "received 5 times without an end",
        log_ids: ids,
        request_id: "req-1",
        export_id: null,
        failures: 1,
      });
      expect(Date.parse(found?.first_failed_at ?? "")).toBeLessThan(Date.now() + 1);
    }
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 1, inFlight: 0 });

    expect(await operator.redrive({ queue: "export" })).toMatchObject({ redriven: 0 });
    expect(await operator.redrive({ queue: "log" })).toMatchObject({ redriven: 1, failed: 0 });
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 0, inFlight: 0 });
    expect((await sqs.receive(log.url, 30, 10, 0)).map((message) => message.body)).toEqual(
      indexMessagesFor(tenant, ids, "req-1").map((message) => message.body),
    );
    expect(await operator.of(tenant)).toEqual([]);
  });

  test("are sent back by their ids, and a second time nothing is", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    await sqs.send(log.deadLetters, [
      ...indexMessagesFor(tenant, [crypto.randomUUID()], "first"),
      ...indexMessagesFor(tenant, [crypto.randomUUID()], "second"),
    ]);
    const operator = operatorOf(log, exports);
    const listed = await operator.of(tenant);
    expect(listed.map((item) => item["request_id"]).toSorted()).toEqual(["first", "second"]);
    const wanted = listed.find((item) => item["request_id"] === "first")?.id ?? "";
    const unknown = crypto.randomUUID();
    const ids = [wanted, unknown];
    expect(await operator.redrive({ ids })).toMatchObject({ redriven: 1, not_found: [unknown] });
    expect(await operator.redrive({ ids })).toMatchObject({ redriven: 0, not_found: ids });
    expect(await sqs.depth(log.url)).toEqual({ waiting: 1, inFlight: 0 });
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 1, inFlight: 0 });
    expect((await operator.of(tenant)).map((item) => item["request_id"])).toEqual(["second"]);
  });

  test("that a redrive could not delete any more are not sent back twice, nor listed", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    await sqs.send(log.deadLetters, indexMessagesFor(tenant, [crypto.randomUUID()], "req"));
    const operator = operatorOf(log, exports);
    await operator.list();
    await rowsOf(
      sql`update dead_letters set redriven_at = clock_timestamp() + interval '1 second' where tenant_id = ${tenant}`,
    );
    expect(await operator.redrive({ queue: "log" })).toMatchObject({ redriven: 0 });
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 0, inFlight: 0 });
    expect(await sqs.depth(log.url)).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("that fail again after they were sent back are dead again", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    await sqs.send(log.url, indexMessagesFor(tenant, [crypto.randomUUID()], "req"));
    await exhaust(log);
    const operator = operatorOf(log, exports);
    await operator.redrive({ queue: "log" });
    expect(await operator.of(tenant)).toEqual([]);
    await exhaust(log);
    expect(await operator.of(tenant)).toHaveLength(1);
  });

  test("that are no message of the service are kept, shown and sent back as they came", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const body = `not a message ${crypto.randomUUID()}`;
    await sqs.send(log.url, [{ body, groupId: "g" }]);
    await (await pollerOf("LOG_POLLER", log.url)).wake();
    const operator = operatorOf(log, exports);
    await vi.waitFor(
      async () => expect((await sqs.depth(log.deadLetters)).waiting).toBe(1),
      10_000,
    );
    const { items } = await operator.list("&queue=log");
    const found = items.find((item) => item.tenant_id === null);
    expect(found).toMatchObject({ reason: "not an index message", log_ids: [] });
    expect(JSON.stringify(items)).not.toContain(body);
    await operator.redrive({ ids: [found?.id ?? ""] });
    await vi.waitFor(async () => {
      const [again] = (await operator.list("&queue=log")).items.filter(
        (item) => item.id === found?.id,
      );
      expect(again?.failures).toBe(2);
    }, 10_000);
  });

  test("that are no message of the service are listed until someone deletes them from the queue", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const operator = operatorOf(log, exports);
    await sqs.send(log.deadLetters, [{ body: "rubbish", groupId: "g" }]);
    const listed = async () => (await operator.list()).items.map((item) => item.tenant_id);
    const grow = () =>
      rowsOf(sql`update dead_letters set last_failed_at = now() - interval '2 minutes'`);
    expect(await listed()).toEqual([null]);
    await grow();
    expect(await listed()).toEqual([null]);
    await sqs.delete(log.deadLetters, await sqs.receive(log.deadLetters, 30, 10, 0));
    expect(await listed()).toEqual([]);
  });

  test("are listed page by page, and a cursor belongs to its queue", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const sent = Array.from({ length: 25 }, (_, n) => `req-${n}`);
    await sqs.send(
      log.deadLetters,
      sent.flatMap((request) => indexMessagesFor(tenant, [crypto.randomUUID()], request)),
    );
    const operator = operatorOf(log, exports);
    const seen: unknown[] = [];
    let cursor: string | null = "";
    while (cursor !== null) {
      const path: string = `${operator.path}?queue=log&page_size=10${cursor ? `&cursor=${cursor}` : ""}`;
      const page = listing.parse((await operator.get(path)).body);
      seen.push(...page.items.filter((item) => item.tenant_id === tenant));
      const last: string | null = page.next_cursor;
      if (last !== null)
        expectProblem(
          await operator.get(`${operator.path}?cursor=${last}`),
          422,
          "validation_failed",
        );
      cursor = last;
    }
    expect(seen).toHaveLength(25);
    expect(new Set(seen.map((item) => letter.parse(item)["request_id"]))).toEqual(new Set(sent));
  });

  test("of a queue beyond what one call takes are sent back call by call, each once", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const all = Array.from({ length: 130 }, (_, n) =>
      indexMessagesFor(tenant, [crypto.randomUUID()], `req-${n}`),
    ).flat();
    await sqs.send(log.deadLetters, all);
    const operator = operatorOf(log, exports);
    expect(await operator.redrive()).toMatchObject({ redriven: 100, remaining: 30 });
    expect(await operator.redrive()).toMatchObject({ redriven: 30, remaining: 0 });
    expect(await operator.redrive()).toMatchObject({ redriven: 0, remaining: 0 });
    expect(await sqs.depth(log.url)).toEqual({ waiting: 130, inFlight: 0 });
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("come from the database alone where SQS does not answer, and cannot be sent back", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    await sqs.send(log.deadLetters, indexMessagesFor(tenant, [crypto.randomUUID()], "req"));
    await operatorOf(log, exports).list();
    const operator = operatorOf(log, exports, { SQS_ENDPOINT: nowhere });
    expect((await operator.list()).queues).toMatchObject({ log: { in_queue: null } });
    expect(await operator.of(tenant)).toHaveLength(1);
    const answer = await operator.call("POST", `${operator.path}/redrive`);
    expectProblem(answer, 503, "queue_unavailable");
    const withoutDeadLetters = { SQS_LOG_QUEUE_URL: await newQueueWithoutDeadLetters() };
    const other = operatorOf(log, exports, withoutDeadLetters);
    expect((await other.list()).queues).toMatchObject({ log: { in_queue: null } });
  });

  test.each([
    [{ ids: [] }, "/ids"],
    [{ ids: ["x"] }, "/ids/0"],
    [{ queue: "other" }, "/queue"],
    [{ id: "x" }, "/id"],
  ])("are not redriven by %j", async (body, path) => {
    const operator = operatorOf(await newQueue(), await newQueue());
    const answer = await operator.call("POST", `${operator.path}/redrive`, body);
    expect(expectProblem(answer, 422, "validation_failed")).toEqual([path]);
  });

  test("of an export tell its error, and go on from where it failed", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const admin = callerOf(workersWith({ SQS_EXPORT_QUEUE_URL: exports.url }), {
      tenant_id: tenant,
    });
    await admin.create();
    const started = await admin.call("POST", "/api/v1/logs/export");
    const id = String(z.object({ data: z.object({ id: z.string() }) }).parse(started.body).data.id);
    await rowsOf(
      sql`update export_pipelines set status = 'FAILED', finished_at = now(), error_code = 'storage_refused', error_message = 'The bucket is missing.' where id = ${id}`,
    );
    await exhaust(exports);
    const operator = operatorOf(log, exports);
    const [found] = await operator.of(tenant);
    expect(found).toMatchObject({
      queue: "export",
      export_id: id,
      reason: "The bucket is missing.",
    });
    expect(await operator.redrive({ ids: [found?.id ?? ""] })).toMatchObject({ redriven: 1 });
    const poller = await pollerOf("EXPORT_POLLER", exports.url);
    await poller.wake();
    await vi.waitFor(async () => {
      const { body } = await admin.get(`/api/v1/logs/export/${id}`);
      expect(body).toMatchObject({ data: { status: "DONE", rows_exported: 1, error: null } });
    }, 15_000);
    const [, tried] = await ownLogs(tenant);
    expect(tried).toMatchObject({
      action: "audit_log.dead_letters_redriven",
      user_id: "operator",
      resource_type: "export",
      resource_id: id,
      metadata: { queue: "export" },
    });
  });

  describe("that are sent back", () => {
    const make = (...tenants: string[]) =>
      rowsOf(sql`
        insert into tenants (id) select * from jsonb_array_elements_text(${JSON.stringify(tenants)}::jsonb)`);
    const bury = (log: Queue, tenant: string, request: string, logs = 1) => {
      const ids = Array.from({ length: logs }, () => crypto.randomUUID());
      return sqs.send(log.deadLetters, indexMessagesFor(tenant, ids, request));
    };

    test("are recorded in the tenants that they are of, masked by their rules, and once", async () => {
      const [log, exports] = [await newQueue(), await newQueue()];
      const [one, other, unknown] = [newTenant(), newTenant(), newTenant()];
      await make(one, other);
      await rowsOf(sql`
        update tenants set masking = '{"fields": {"user_id": "hash"}}', settings_version = 1 where id = ${other}`);
      await bury(log, one, "first", 2);
      await bury(log, one, "second");
      await bury(log, other, "third");
      await bury(log, unknown, "fourth");
      const operator = operatorOf(log, exports);
      expect(await operator.redrive()).toMatchObject({ redriven: 4, failed: 0 });
      expect(await operator.redrive()).toMatchObject({ redriven: 0, failed: 0 });
      const about = {
        action: "audit_log.dead_letters_redriven",
        resource_type: "audit_log",
        resource_id: "*",
        recorded_by: ownRecorder,
      };
      expect(await ownLogs(one)).toMatchObject([
        { ...about, user_id: "operator", metadata: { queue: "log", logs: 3 } },
      ]);
      const [masked, ...more] = await ownLogs(other);
      expect(more).toEqual([]);
      expect(masked).toMatchObject({ ...about, metadata: { queue: "log", logs: 1 } });
      expect(JSON.stringify(masked)).not.toContain("operator");
      expect(await ownLogs(unknown)).toEqual([]);
      // And the indexer is told of the two.
      expect((await sqs.depth(log.url)).waiting).toBe(4 + 2);
    });

    test("are recorded once where two send them back at once", async () => {
      const [log, exports] = [await newQueue(), await newQueue()];
      const tenant = newTenant();
      await make(tenant);
      await bury(log, tenant, "first");
      await operatorOf(log, exports).list();
      const [row] = await rowsOf(sql`select id from dead_letters where tenant_id = ${tenant}`);
      const ids = [String(row?.["id"])];
      const record = {
        tenantId: tenant,
        ids,
        log: serviceLog("audit_log.dead_letters_redriven", "audit_log"),
      };
      const ends = await Promise.all([1, 2, 3].map(() => reviveLetters(ownerOf(), ids, [record])));
      expect(ends.flat()).toHaveLength(1);
      expect(await ownLogs(tenant)).toHaveLength(1);
    });

    test("stay dead where that cannot be recorded", async () => {
      const [log, exports] = [await newQueue(), await newQueue()];
      const tenant = newTenant();
      await make(tenant);
      await bury(log, tenant, "first");
      const operator = operatorOf(log, exports);
      const name = sql.identifier(`no_log_${crypto.randomUUID().replaceAll("-", "")}`);
      await rowsOf(sql`
        alter table pending_index add constraint ${name}
        check (tenant_id <> ${sql.raw(`'${tenant}'`)}) not valid`);
      try {
        expect((await operator.call("POST", `${operator.path}/redrive`)).status).toBe(500);
      } finally {
        await rowsOf(sql`alter table pending_index drop constraint ${name}`);
      }
      expect(await operator.of(tenant)).toHaveLength(1);
      expect(await sqs.depth(log.url)).toEqual({ waiting: 0, inFlight: 0 });
      expect(await operator.redrive()).toMatchObject({ redriven: 1 });
      expect(await ownLogs(tenant)).toHaveLength(1);
    });
  });

  test("of an export that the exporter buried have the reason of its row", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    await sqs.send(exports.url, [exportMessageFor(tenant, crypto.randomUUID(), "req")]);
    await (await pollerOf("EXPORT_POLLER", exports.url)).wake();
    const operator = operatorOf(log, exports);
    await vi.waitFor(async () => {
      const [found] = await operator.of(tenant);
      expect(found).toMatchObject({ reason: "there is no such export", failures: 1 });
    }, 10_000);
  });
});

describe.skipIf(searchMissing !== "")(`a poisoned log (skipped: ${searchMissing})`, () => {
  /** The last month that has a partition: no other test has its index. */
  const now = new Date();
  const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 3, 1));
  const monthName = month.toISOString().slice(0, 7).replace("-", ".");
  const index = `audit-logs-${monthName}-1`;
  const search = connectSearch(requireSection(parseConfig(workerEnv), "search"), 10_000);

  async function breakMonth(): Promise<void> {
    await ensureMonthIndex(search, monthName);
    await search.indices.delete({ index });
    await search.indices.create({
      index,
      body: {
        mappings: { properties: { user_id: { type: "long" } } },
        aliases: { "audit-logs": {}, [`audit-logs-${monthName}`]: {} },
      },
    });
  }
  async function mendMonth(): Promise<void> {
    await search.indices.delete({ index });
    await ensureMonthIndex(search, monthName);
  }
  async function storePoison(tenant: string): Promise<string> {
    const id = firstIdAt(month.getTime() + Math.floor(Math.random() * 1e9)).replace(
      "-0000-0000-",
      "-7000-8000-",
    );
    await rowsOf(sql`
      with stored as (
        insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity, actor_type, resource_type, resource_id, user_id, metadata, before_state, after_state, targets)
        values (${id}, ${tenant}, ${month.toISOString()}, now(), 't', 'a', 'INFO', 'user', 'r', '1', 'a secret name', '{}', '{}', '{}', '[]')
      )
      insert into pending_index (tenant_id, log_id) values (${tenant}, ${id})`);
    return id;
  }
  const found = async (tenant: string) => {
    const query = { term: { tenant_id: tenant } };
    const { body } = await search.search({
      index: "audit-logs",
      routing: tenant,
      body: { query },
    });
    return body.hits.hits.map((hit) => hit._id);
  };

  beforeAll(async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    await breakMonth();
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await search.indices.delete({ index });
  });

  test("is told with its reason, and a redrive makes it searchable once the cause is mended", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const id = await storePoison(tenant);
    await sqs.send(log.url, indexMessagesFor(tenant, [id], "req"));
    const poller = await pollerOf("LOG_POLLER", log.url);
    await poller.wake();
    const operator = operatorOf(log, exports);
    const letters = await vi.waitFor(async () => {
      expect((await sqs.depth(log.deadLetters)).waiting).toBe(1);
      const letters = await operator.of(tenant);
      expect(letters).toHaveLength(1);
      return letters;
    }, 15_000);
    expect(letters[0]).toMatchObject({ log_ids: [id], failures: 1 });
    expect(letters[0]?.reason).toContain("mapper_parsing_exception");
    // OpenSearch repeats the value that it cannot parse. A platform admin must not see it.
    expect(JSON.stringify(letters)).not.toContain("a secret name");

    // Not mended: it fails again, and is the same dead letter.
    expect(await operator.redrive({ queue: "log" })).toMatchObject({ redriven: 1, failed: 0 });
    await vi.waitFor(async () => {
      const [again] = await operator.of(tenant);
      expect(again).toMatchObject({ id: letters[0]?.id, failures: 2 });
    }, 15_000);

    await mendMonth();
    const ids = [letters[0]?.id ?? ""];
    await vi.waitFor(async () => {
      expect((await sqs.depth(log.deadLetters)).waiting).toBe(1);
    }, 5_000);
    expect(await operator.redrive({ ids })).toMatchObject({ redriven: 1, not_found: [] });
    await vi.waitFor(async () => expect(await found(tenant)).toEqual([id]), 15_000);
    await vi.waitFor(async () => {
      const left = await rowsOf(sql`
        select log_id from pending_index where tenant_id = ${tenant}
        union all select log_id from index_failures where tenant_id = ${tenant}`);
      expect(left).toEqual([]);
    }, 5_000);
    expect(await operator.of(tenant)).toEqual([]);
    expect(await sqs.depth(log.deadLetters)).toEqual({ waiting: 0, inFlight: 0 });
  });

  test("whose message was lost before it reached the dead letters is told and redriven all the same", async () => {
    const [log, exports] = [await newQueue(), await newQueue()];
    const tenant = newTenant();
    const id = await storePoison(tenant);
    await rowsOf(sql`
      with gone as (delete from pending_index where tenant_id = ${tenant} returning tenant_id, log_id)
      insert into index_failures (tenant_id, log_id, reason, failed_at)
      select tenant_id, log_id, '400 for the test', now() - interval '2 minutes' from gone`);
    const operator = operatorOf(log, exports);
    const [letter, ...more] = await operator.of(tenant);
    expect(more).toEqual([]);
    expect(letter).toMatchObject({ log_ids: [id], reason: "400 for the test" });
    expect(await operator.redrive({ ids: [letter?.id ?? ""] })).toMatchObject({ redriven: 1 });
    expect(
      await rowsOf(sql`select log_id, is_first from pending_index where tenant_id = ${tenant}`),
    ).toEqual([{ log_id: id, is_first: false }]);
    expect(await sqs.depth(log.url)).toEqual({ waiting: 1, inFlight: 0 });
  });
});
