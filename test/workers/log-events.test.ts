import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { QueuePoller } from "../../consumers/poll-queue.ts";
import { connectS3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { s3Log } from "../../platform/s3-log.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { exported } from "./export-calls.ts";
import { newQueue } from "./queues.ts";
import { nowhere, searchMissing, workerEnv, workersWith } from "./tools.ts";

type Event = Record<string, unknown>;
type Poller = QueuePoller & Rpc.DurableObjectBranded;
const pollers = env as unknown as Record<string, DurableObjectNamespace<Poller>>;

let events: Event[] = [];
beforeEach(() => {
  events = [];
  for (const method of ["log", "warn", "error"] as const)
    vi.spyOn(console, method).mockImplementation((line) => void events.push(JSON.parse(line)));
});
afterEach(() => {
  vi.restoreAllMocks();
});
const eventsOf = (logger: string, event: string) =>
  events.filter((one) => one["logger"] === logger && one["event"] === event);

/** A service of a test's own, at a log level of its own. */
async function newService(level: string) {
  const [log, exports] = [await newQueue(), await newQueue()];
  const changes = {
    SQS_LOG_QUEUE_URL: log.url,
    SQS_EXPORT_QUEUE_URL: exports.url,
    LOG_LEVEL: level,
  };
  const config = parseConfig({ ...env, ...changes });
  const wake = async (binding: string) => {
    const stub = pollers[binding]?.getByName(crypto.randomUUID());
    if (!stub) throw new Error(`no binding ${binding}`);
    await runInDurableObject(stub, async (poller) => {
      const { createLogger } = await import("../../platform/logger.ts");
      const isExport = binding === "EXPORT_POLLER";
      const name = isExport ? "consumer_export_consumer_logger" : "consumer_log_consumer_logger";
      Object.assign(poller, { config, logger: createLogger(name, config.logLevel) });
    });
    await stub.wake();
  };
  const tenant = newTenant();
  return {
    tenant,
    wake,
    target: workersWith(changes),
    caller: callerOf(workersWith(changes), { tenant_id: tenant }),
  };
}

describe.skipIf(searchMissing !== "")(`one request (skipped: ${searchMissing})`, () => {
  test("can be followed by its id from the API to the index and into a file", async () => {
    const { tenant, wake, caller } = await newService("DEBUG");
    const headers = { "X-Request-Id": "follow-me.1" };
    const log = { action: "a", resource_type: "r", resource_id: "1", description: "a secret" };
    expect((await caller.call("POST", "/api/v1/logs", log, headers)).status).toBe(201);
    await wake("LOG_POLLER");
    await caller.settled();
    await wake("EXPORT_POLLER");
    await exported(caller);
    const about = { tenant_id: tenant };

    const [request] = eventsOf("api_logger", "request").filter((one) => one["method"] === "POST");
    expect(request).toMatchObject({
      ...about,
      level: "INFO",
      request_id: "follow-me.1",
      path: "/api/v1/logs",
      status: 201,
      duration_ms: expect.any(Number),
      db_ms: expect.any(Number),
    });
    const [list] = eventsOf("api_logger", "request").filter((one) => one["source"] !== undefined);
    expect(list).toMatchObject({ search_ms: expect.any(Number), db_ms: expect.any(Number) });

    // The service's own logs of the export are indexed too.
    const indexed = eventsOf("consumer_log_consumer_logger", "indexed").filter(
      (one) => one["request_id"] === "follow-me.1",
    );
    expect(indexed).toHaveLength(1);
    expect(indexed[0]).toMatchObject({
      ...about,
      level: "INFO",
      request_id: "follow-me.1",
      logs: 1,
      failed: 0,
      queue_ms: expect.any(Number),
      searchable_ms: expect.any(Number),
      db_ms: expect.any(Number),
      search_ms: expect.any(Number),
    });

    const [done] = eventsOf("consumer_export_consumer_logger", "export_done");
    const exportId = done?.["export_id"];
    expect(done).toMatchObject({
      ...about,
      request_id: expect.any(String),
      slice_ms: expect.any(Number),
      db_ms: expect.any(Number),
      s3_ms: expect.any(Number),
    });
    const calls = eventsOf("s3_logger", "s3_call");
    expect(calls.map((call) => call["action"])).toEqual(
      expect.arrayContaining(["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"]),
    );
    for (const call of calls.filter((one) => one["key"] !== ""))
      expect(call).toMatchObject({
        ...about,
        level: "DEBUG",
        export_id: exportId,
        request_id: done?.["request_id"],
        key: expect.stringContaining(String(exportId)),
        status: 200,
        ms: expect.any(Number),
      });
    const upload = calls.find((call) => call["action"] === "UploadPart");
    expect(upload?.["bytes"]).toBeGreaterThan(50);
    expect(JSON.stringify(events)).not.toContain("a secret");
  });

  test("tells less at a higher LOG_LEVEL, and errors at each", async () => {
    const { tenant, wake, caller, target } = await newService("WARNING");
    await caller.create();
    await wake("LOG_POLLER");
    await caller.settled();
    await wake("EXPORT_POLLER");
    await exported(caller);
    // Until then the poller asks the database for the logs of the export, by its own endpoint.
    await caller.settled();
    expect(events.filter((event) => event["tenant_id"] === tenant)).toEqual([]);
    const broken = workersWith({ LOG_LEVEL: "ERROR", NEON_FETCH_ENDPOINT: nowhere });
    expect((await callerOf(broken, {}).get("/api/v1/logs")).status).toBe(503);
    expect(eventsOf("api_logger", "request")).toMatchObject([{ level: "ERROR", status: 503 }]);
    expect((await target.fetch("/api/v1/logs")).status).toBe(401);
    expect(eventsOf("api_logger", "request")).toHaveLength(1);
  });
});

test("a call of S3 that fails is a warning for each of its tries", async () => {
  const config = requireSection(parseConfig(workerEnv), "s3");
  const s3 = connectS3(
    { ...config, endpoint: nowhere },
    { retryMs: 1, onCall: s3Log("INFO", { request_id: "r" }) },
  );
  await expect(
    s3.putObject("tenant/a b/file", "text", { contentType: "t", fileName: "f" }),
  ).rejects.toThrow(S3Error);
  const told = eventsOf("s3_logger", "s3_call");
  expect(told.length).toBeGreaterThan(1);
  for (const one of told)
    expect(one).toMatchObject({
      level: "WARNING",
      request_id: "r",
      action: "PutObject",
      key: "tenant/a b/file",
      code: "no answer",
      bytes: 4,
    });
});
