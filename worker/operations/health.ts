import { createRoute, type RouteHandler, z } from "@hono/zod-openapi";
import { sql } from "drizzle-orm";
import { bucketAnswers } from "../../aws/s3.ts";
import { connectSqs } from "../../aws/sqs.ts";
import { connectDatabase } from "../../db/client.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { connectSearch } from "../../search/client.ts";
import { verifyToken } from "../auth/verify-token.ts";
import type { AppEnv } from "../env.ts";

const checkTimeoutMs = 2_000;

const check = z.object({
  status: z.enum(["ok", "down"]),
  latency_ms: z.int(),
  depth: z.int().optional(),
  in_flight: z.int().optional(),
  dead_letters: z.int().optional(),
});
const answer = z.object({
  status: z.enum(["ok", "degraded", "down"]),
  checks: z
    .object({
      database: check,
      opensearch: check,
      sqs_log_queue: check,
      sqs_export_queue: check,
      s3: check,
    })
    .optional()
    .openapi({ description: "For a signed-in caller only." }),
});
type Check = z.infer<typeof check>;

const healthAnswer = (description: string) => ({
  description,
  content: { "application/json": { schema: answer } },
});

export const healthRoute = createRoute({
  method: "get",
  path: "/health",
  operationId: "getHealth",
  summary: "Tell whether the service works",
  responses: {
    200: healthAnswer("It works, or works in part."),
    503: healthAnswer("The database is down."),
  },
});

export const health: RouteHandler<typeof healthRoute, AppEnv> = async (c) => {
  const { config, logger } = c.var;
  const [checks, isSignedIn] = await Promise.all([
    runChecks(config, logger),
    hasToken(c.req.header("Authorization"), config),
  ]);
  const isWhole = Object.values(checks).every((one) => one.status === "ok");
  const status = checks.database.status === "down" ? "down" : isWhole ? "ok" : "degraded";
  return c.json({ status, ...(isSignedIn ? { checks } : {}) }, status === "down" ? 503 : 200);
};

async function runChecks(config: Config, logger: Logger) {
  const timed = async (
    name: string,
    probe: () => Promise<Omit<Check, "status" | "latency_ms"> | void>,
  ): Promise<Check> => {
    const began = Date.now();
    try {
      const found = await withTimeout(probe());
      return { status: "ok", latency_ms: Date.now() - began, ...found };
    } catch (error) {
      logger.warning("health_check_failed", { check: name, reason: reasonOf(error) });
      return { status: "down", latency_ms: Date.now() - began };
    }
  };
  const queue = async (url: "logQueueUrl" | "exportQueueUrl") => {
    const section = requireSection(config, "sqs");
    const sqs = connectSqs(section, checkTimeoutMs);
    const [{ waiting, inFlight }, deadLetters] = await Promise.all([
      sqs.depth(section[url]),
      sqs
        .deadLetterQueue(section[url])
        .then((dead) => (dead === undefined ? { waiting: 0 } : sqs.depth(dead))),
    ]);
    return { depth: waiting, in_flight: inFlight, dead_letters: deadLetters.waiting };
  };
  const [database, opensearch, logQueue, exportQueue, s3] = await Promise.all([
    timed("database", async () => {
      await connectDatabase(requireSection(config, "database")).execute(sql`select 1`);
    }),
    timed("opensearch", async () => {
      await connectSearch(requireSection(config, "search"), checkTimeoutMs).ping();
    }),
    timed("sqs_log_queue", () => queue("logQueueUrl")),
    timed("sqs_export_queue", () => queue("exportQueueUrl")),
    timed("s3", async () => {
      const isThere = await bucketAnswers(requireSection(config, "s3"), checkTimeoutMs);
      if (!isThere) throw new Error("the bucket is missing or denied");
    }),
  ]);
  return { database, opensearch, sqs_log_queue: logQueue, sqs_export_queue: exportQueue, s3 };
}

async function withTimeout<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Error(`no answer within ${checkTimeoutMs} ms`)),
      checkTimeoutMs,
    );
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

async function hasToken(authorization: string | undefined, config: Config): Promise<boolean> {
  if (authorization === undefined || !config.sections.tokens) return false;
  try {
    await verifyToken(authorization, config.sections.tokens);
    return true;
  } catch (error) {
    if (error instanceof ApiError) return false;
    throw error;
  }
}
