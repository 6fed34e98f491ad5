import { sql } from "drizzle-orm";
import { bucketAnswers } from "../../aws/s3.ts";
import { connectSqs } from "../../aws/sqs.ts";
import { connectDatabase } from "../../db/client.ts";
import { type OutboxFigures, readOutboxFigures } from "../../db/counters.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { within } from "../../platform/within.ts";
import { connectSearch } from "../../search/client.ts";

const checkTimeoutMs = 2_000;
/** However often health is asked, the back ends are asked this often by an isolate. */
const keepMs = 3_000;

type QueueDepth = { depth: number; in_flight: number; dead_letters: number };
export type Check = { status: "ok" | "down"; latency_ms: number } & Partial<QueueDepth>;
export type Checks = Record<
  "database" | "opensearch" | "sqs_log_queue" | "sqs_export_queue" | "s3",
  Check
>;
/** `outbox` is missing where the database does not say. */
export type Found = { checks: Checks; outbox: OutboxFigures | undefined };

type Known = { begunAt: number; found: Promise<Found> };
/** For each configuration: there is one for an isolate. */
const known = new WeakMap<Config, Known>();

/**
 * What the parts answered, at most 3 s ago. Requests at the same time share one set of checks: it belongs to
 * the request that began it, and `keepAlive` lets it end where that one is given up.
 */
export async function recentChecks(
  config: Config,
  logger: Logger,
  keepAlive: (work: Promise<unknown>) => void,
): Promise<Found> {
  const last = known.get(config);
  if (last && Date.now() - last.begunAt < keepMs) {
    try {
      return await within(checkTimeoutMs + 500, last.found);
    } catch {
      // The request that began them was cut off. So this one asks.
    }
  }
  const found = runChecks(config, logger);
  known.set(config, { begunAt: Date.now(), found });
  keepAlive(found);
  return found;
}

async function runChecks(config: Config, logger: Logger): Promise<Found> {
  const check = async (
    name: string,
    probe: () => Promise<QueueDepth | undefined>,
  ): Promise<Check> => {
    const began = Date.now();
    try {
      const found = await within(checkTimeoutMs, probe());
      return { status: "ok", latency_ms: Date.now() - began, ...found };
    } catch (error) {
      logger.warning("health_check_failed", { check: name, reason: reasonOf(error) });
      return { status: "down", latency_ms: Date.now() - began };
    }
  };
  const [database, opensearch, logQueue, exportQueue, s3, outbox] = await Promise.all([
    check("database", async () => {
      await connectDatabase(requireSection(config, "database")).execute(sql`select 1`);
      return undefined;
    }),
    check("opensearch", async () => {
      await connectSearch(requireSection(config, "search"), checkTimeoutMs).ping();
      return undefined;
    }),
    check("sqs_log_queue", () => queueDepth(config, "logQueueUrl")),
    check("sqs_export_queue", () => queueDepth(config, "exportQueueUrl")),
    check("s3", async () => {
      const isThere = await bucketAnswers(requireSection(config, "s3"), checkTimeoutMs);
      if (!isThere) throw new Error("the bucket is missing or denied");
      return undefined;
    }),
    readOutbox(config, logger),
  ]);
  const checks = {
    database,
    opensearch,
    sqs_log_queue: logQueue,
    sqs_export_queue: exportQueue,
    s3,
  };
  return { checks, outbox };
}

async function queueDepth(
  config: Config,
  url: "logQueueUrl" | "exportQueueUrl",
): Promise<QueueDepth> {
  const section = requireSection(config, "sqs");
  const sqs = connectSqs(section, checkTimeoutMs);
  const [{ waiting, inFlight }, deadLetters] = await Promise.all([
    sqs.depth(section[url]),
    sqs.deadLetters(section[url]),
  ]);
  return { depth: waiting, in_flight: inFlight, dead_letters: deadLetters };
}

/** Apart from the check of the database: to count a long outbox may take longer than that may. */
async function readOutbox(config: Config, logger: Logger): Promise<OutboxFigures | undefined> {
  try {
    const db = connectDatabase(requireSection(config, "database"));
    return await within(checkTimeoutMs, readOutboxFigures(db));
  } catch (error) {
    logger.warning("health_check_failed", { check: "outbox", reason: reasonOf(error) });
    return undefined;
  }
}
