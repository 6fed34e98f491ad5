import { type RouteHandler, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { backpressureSeconds } from "../../db/backlog.ts";
import { ApiError } from "../../platform/errors.ts";
import { version } from "../../platform/version.ts";
import { authenticate } from "../auth/authenticate.ts";
import type { AppEnv } from "../env.ts";
import { limitKeyLookups } from "../limits/limit-key-lookups.ts";
import { recentChecks } from "./health-checks.ts";
import { declareRoute } from "../route.ts";

const check = z.object({
  status: z.enum(["ok", "down"]),
  latency_ms: z.int(),
  depth: z.int().optional(),
  in_flight: z.int().optional(),
  dead_letters: z.int().optional(),
});
const details = z.object({
  checks: z.object({
    database: check,
    opensearch: check,
    sqs_log_queue: check,
    sqs_export_queue: check,
    s3: check,
  }),
  outbox: z
    .object({ logs: z.int(), oldest_age_seconds: z.number(), unsearchable: z.int() })
    .nullable()
    .openapi({ description: "What waits for the index; null where the database does not say." }),
  backpressure: z.boolean().openapi({
    description: "True while the oldest log has waited for the index for over 10 minutes.",
  }),
  version: z.string(),
  deployment: z.string().optional().openapi({ description: "Cloudflare's id of what runs." }),
});
const answer = z
  .object({ status: z.enum(["ok", "degraded", "down"]) })
  .extend(details.partial().shape)
  .openapi({ description: "All but the status is for a signed-in caller only." });

const healthAnswer = (description: string) => ({
  description,
  content: { "application/json": { schema: answer } },
});

export const healthRoute = declareRoute({
  method: "get",
  path: "/health",
  access: "anyone",
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
