import { type RouteHandler, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { connectDatabase, type Database } from "../../db/client.ts";
import { removeOldLogs } from "../../db/remove-old-logs.ts";
import { repeatable } from "../../db/repeatable.ts";
import {
  askForRemoval,
  countRemovable,
  readRemovable,
  type RetentionRun,
} from "../../db/retention.ts";
import { settleRun } from "../../db/retention-runs.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import { count, time } from "../answer-fields.ts";
import { readScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { problemAnswers } from "../problem-answers.ts";
import { declareRoute } from "../route.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { wakePoller } from "../wake-poller.ts";

/** So long a request removes logs, or counts them. What is left is the cron's. */
const removeMs = 8_000;
const countMs = 4_000;

const answer = z
  .object({
    data: z
      .object({
        deleted: count(
          "Logs that this request removed; with dry_run, logs that would be removed.",
          1200,
        ),
        deleted_is_lower_bound: z
          .literal(true)
          .optional()
          .openapi({
            description: "With dry_run, where there were too many to count: there are more.",
            examples: [true],
          }),
        cutoff: time("Logs that were stored before it are too old."),
        complete: z.boolean().openapi({
          description:
            "Whether none is left from before the cutoff; with dry_run, whether all were counted. If not, the service goes on by itself.",
          examples: [true],
        }),
      })
      .openapi("CleanedUp", { description: "What was removed, or would be." }),
  })
  .openapi("Cleanup", { description: "What a cleanup removed, or would remove." });

export const cleanUpLogsRoute = declareRoute({
  method: "delete",
  path: "/logs/cleanup",
  operationId: "cleanUpLogs",
  summary: "Remove the logs that are older than the tenant's retention",
  description:
    "For good, from searches within minutes. Logs that an export covers stay until it is over. Safe to repeat.",
  tags: ["Logs"],
  access: ["admin"],
  request: {
    query: z.strictObject({
      dry_run: z
        .enum(["true", "false"], "must be true or false")
        .default("false")
        .openapi({ description: "Only counts.", type: "boolean", default: false }),
    }),
  },
  responses: {
    200: {
      description: "What was removed.",
      content: { "application/json": { schema: answer } },
    },
    ...problemAnswers("validation_failed", "legal_hold"),
  },
});

export const cleanUpLogs: RouteHandler<typeof cleanUpLogsRoute, AppEnv> = async (c) => {
  const { caller, config, event } = c.var;
  const { defaultDays } = requireSection(config, "retention");
  const scope = readScope(caller);
  const db = connectDatabase(requireSection(config, "database"));
  if (c.req.valid("query").dry_run === "true") {
    const run = await repeatable(() => readRemovable(db, scope, defaultDays));
    if (!run) throw underHold(0);
    const { count, isLowerBound } = await countRemovable(db, scope, run, Date.now() + countMs);
    const data = { ...answerOf(run, count), complete: !isLowerBound };
    if (!isLowerBound) return c.json({ data }, 200);
    return c.json({ data: { ...data, deleted_is_lower_bound: true as const } }, 200);
  }
  const { run, ownId } = await withSettings(scope, async (settings, scope) => {
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.cleanup_started",
      resource_type: "audit_log",
    });
    return askForRemoval(db, scope, defaultDays, log);
  });
  publishOwnLog(c, caller.tenantId, ownId);
  if (!run) throw underHold(0);
  const { removed, state, cutoff } = await removeOldLogs(db, run, Date.now() + removeMs);
  event["logs_removed"] = removed;
  c.executionCtx.waitUntil(settle(c, db, run, state));
  // By this the service knows that something happens: the cron of a sleeping one comes every 15 minutes.
  c.executionCtx.waitUntil(wakePoller(c, "LOG_POLLER").catch(() => {}));
  if (state === "held") throw underHold(removed);
  return c.json({ data: { ...answerOf({ cutoff }, removed), complete: state === "done" } }, 200);
};

const answerOf = ({ cutoff }: Pick<RetentionRun, "cutoff">, deleted: number) => ({
  deleted,
  cutoff: new Date(cutoff).toISOString(),
});

function underHold(removed: number): ApiError {
  const before = removed === 0 ? "Nothing was removed" : `${removed} logs were removed before it`;
  return new ApiError("legal_hold", `The tenant is under a legal hold. ${before}.`);
}

/** Where this fails, the cron finds in a minute that the run is over, or goes on with it. */
async function settle(
  c: Context<AppEnv>,
  db: Database,
  run: RetentionRun,
  state: Parameters<typeof settleRun>[2],
): Promise<void> {
  const { logger, caller } = c.var;
  try {
    publishOwnLog(c, caller.tenantId, await settleRun(db, run, state));
  } catch (error) {
    logger.warning("cleanup_not_settled", {
      tenant_id: caller.tenantId,
      reason: reasonOf(error),
    });
  }
}
