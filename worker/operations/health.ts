import { type RouteHandler, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { backpressureSeconds } from "../../db/backlog.ts";
import { ApiError } from "../../platform/errors.ts";
import { version } from "../../platform/version.ts";
import { count } from "../answer-fields.ts";
import { authenticate } from "../auth/authenticate.ts";
import type { AppEnv } from "../env.ts";
import { limitKeyLookups } from "../limits/limit-key-lookups.ts";
import { recentChecks } from "./health-checks.ts";
import { declareRoute } from "../route.ts";

const check = z
  .object({
    status: z
      .enum(["ok", "down"])
      .openapi({ description: "Whether it answers.", examples: ["ok"] }),
    latency_ms: count("Milliseconds that it took to answer.", 4),
    depth: count("Of a queue: messages that wait, approximately.", 0).optional(),
    in_flight: count("Of a queue: messages that are being processed, approximately.", 0).optional(),
    dead_letters: count("Of a queue: messages that could not be processed.", 0).optional(),
  })
  .openapi("HealthCheck", { description: "What a part answered, at most 3 seconds ago." });
const details = z.object({
  checks: z
    .object({
      database: check,
      opensearch: check,
      sqs_log_queue: check,
      sqs_export_queue: check,
      s3: check,
    })
    .openapi({ description: "The parts that the service works with." }),
  outbox: z
    .object({
      logs: count("Logs that wait for the index.", 0),
      oldest_age_seconds: z
        .number()
        .nonnegative()
        .openapi({ description: "For how long the oldest has waited.", examples: [0.4] }),
      unsearchable: count("Logs that the index cannot take.", 0),
    })
    .nullable()
    .openapi({ description: "What waits for the index; null where the database does not say." }),
  backpressure: z.boolean().openapi({
    description: "True while the oldest log has waited for the index for over 10 minutes.",
  }),
  version: z.string().openapi({ description: "Of the service.", examples: ["0.1.0"] }),
  deployment: z
    .string()
    .optional()
    .openapi({
      description: "Cloudflare's id of what runs.",
      examples: ["023e105f-4f1b-4c5c-9d9a-8f6a1e2b7c3d"],
    }),
});
const answer = z
  .object({
    status: z.enum(["ok", "degraded", "down"]).openapi({
      description: "`down` only where the database is; `degraded` where another part is.",
      examples: ["ok"],
    }),
  })
  .extend(details.partial().shape)
  .openapi("Health", { description: "All but the status is for a signed-in caller only." });

const healthAnswer = (description: string) => ({
  description,
  content: { "application/json": { schema: answer } },
});

export const healthRoute = declareRoute({
  method: "get",
  path: "/health",
  tags: ["Operations"],
  description: "Without a token it says the status only.",
  access: "anyone",
  moreForCallers: true,
  operationId: "getHealth",
  summary: "Tell whether the service works",
  responses: {
    200: healthAnswer("It works, or works in part."),
    503: healthAnswer("The database is down."),
  },
});

export const health: RouteHandler<typeof healthRoute, AppEnv> = async (c) => {
  const { config, logger } = c.var;
  const keepAlive = (work: Promise<unknown>) => c.executionCtx.waitUntil(work);
  const [{ checks, outbox }, isSignedIn] = await Promise.all([
    recentChecks(config, logger, keepAlive),
    hasToken(c),
  ]);
  const backpressure = (outbox?.oldestAgeSeconds ?? 0) > backpressureSeconds;
  const isWhole = Object.values(checks).every((one) => one.status === "ok") && !backpressure;
  const status = checks.database.status === "down" ? "down" : isWhole ? "ok" : "degraded";
  const deployment = c.env.CF_VERSION_METADATA?.id;
  const shown: z.infer<typeof details> = {
    checks,
    outbox: outbox
      ? {
          logs: outbox.logs,
          oldest_age_seconds: outbox.oldestAgeSeconds,
          unsearchable: outbox.unsearchable,
        }
      : null,
    backpressure,
    version,
    ...(deployment ? { deployment } : {}),
  };
  return c.json({ status, ...(isSignedIn ? shown : {}) }, status === "down" ? 503 : 200);
};

/** Any valid token or key will do, whatever its role. */
async function hasToken(c: Context<AppEnv>): Promise<boolean> {
  const authorization = c.req.header("Authorization");
  if (authorization === undefined) return false;
  const { config, logger } = c.var;
  try {
    await authenticate(authorization, config, logger, () => limitKeyLookups(c));
    return true;
  } catch (error) {
    if (error instanceof ApiError) return false;
    throw error;
  }
}
