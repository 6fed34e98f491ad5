import { type RouteHandler, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { connectDatabase } from "../../db/client.ts";
import {
  cancelReindex as giveUp,
  listReindexes as readReindexes,
  type Reindex,
  reindexStates,
  requestReindex,
} from "../../db/reindexes.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import { count, time } from "../answer-fields.ts";
import type { AppEnv } from "../env.ts";
import { optionalJsonBody } from "../middleware/json-body.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { wakePoller } from "../wake-poller.ts";
import { declareRoute } from "../route.ts";

const month = z
  .string()
  .regex(/^\d{4}\.(0[1-9]|1[0-2])$/, "must be a month, as 2026.11")
  .openapi({ description: "A month of logs.", examples: ["2026.11"] });

const monthAnswer = z
  .object({
    month: z.string().openapi({ description: "The month of its logs.", examples: ["2026.11"] }),
    state: z.enum(reindexStates).openapi({ description: "How far it is.", examples: ["COPYING"] }),
    source_index: z
      .string()
      .nullable()
      .openapi({ description: "The old index.", examples: ["audit-logs-2026.11-1"] }),
    target_index: z
      .string()
      .nullable()
      .openapi({ description: "The new index.", examples: ["audit-logs-2026.11-2"] }),
    logs_copied: count("Logs that the new index has.", 1290),
    logs_total: count(
      "Logs when the copy began; null where counting took too long.",
      4100,
    ).nullable(),
    progress: z
      .number()
      .min(0)
      .max(1)
      .nullable()
      .openapi({ description: "Of the copy.", examples: [0.31] }),
    error: z
      .string()
      .nullable()
      .openapi({
        description: "Why it failed, or last had to wait.",
        examples: ["OpenSearch does not answer"],
      }),
    requested_by: z
      .string()
      .openapi({ description: "The `sub` of the token that asked for it.", examples: ["root"] }),
    requested_at: time("When it was asked for."),
    finished_at: time("When it came to its last state.", "2026-01-31T10:10:00.250Z").nullable(),
  })
  .openapi("Reindex", { description: "How far the reindexing of a month is." });
const answer = z
  .object({ data: z.array(monthAnswer).openapi({ description: "The months in their order." }) })
  .openapi("ReindexAnswer", { description: "Every month that was asked for." });
const answers = (description: string) => ({
  description,
  content: { "application/json": { schema: answer } },
});

const path = "/operations/reindex";
const maxBodyBytes = 1024;

export const startReindexRoute = declareRoute({
  method: "post",
  path,
  operationId: "startReindex",
  summary: "Build new search indices beside the old, and swap them",
  description:
    "One month, or without a body every month that has begun. A month that is under way goes on where it is. For platform admins.",
  tags: ["Operations"],
  access: "platform admin",
  middleware: [optionalJsonBody(maxBodyBytes)],
  request: {
    body: {
      required: false,
      content: {
        "application/json": {
          schema: z
            .strictObject({ month: month.optional() })
            .openapi("NewReindex", { description: "What to reindex." }),
        },
      },
    },
  },
  responses: {
    202: answers("It is asked for. Every month that ever was, in their order."),
    ...problemAnswers(...bodyProblems, "not_found"),
  },
});

export const startReindex: RouteHandler<typeof startReindexRoute, AppEnv> = async (c) => {
  const { month: wanted } = c.req.valid("json");
  const db = connectDatabase(requireSection(c.var.config, "database"));
  requireSection(c.var.config, "search");
  const sub = String(c.var.event["sub"]);
  const { rows, named } = await requestReindex(db, wanted, sub);
  if (named === 0) throw unknownMonth();
  c.executionCtx.waitUntil(wake(c));
  return c.json({ data: rows.map(answerOf) }, 202);
};

export const listReindexesRoute = declareRoute({
  method: "get",
  path,
  operationId: "listReindexes",
  summary: "See how far reindexing is",
  description: "Every month that was ever asked for. For platform admins.",
  tags: ["Operations"],
  access: "platform admin",
  responses: { 200: answers("The months in their order.") },
});

export const listReindexes: RouteHandler<typeof listReindexesRoute, AppEnv> = async (c) => {
  const db = connectDatabase(requireSection(c.var.config, "database"));
  return c.json({ data: (await readReindexes(db)).map(answerOf) }, 200);
};

export const cancelReindexRoute = declareRoute({
  method: "delete",
  path: `${path}/{month}`,
  operationId: "cancelReindex",
  summary: "Give up reindexing a month",
  description: "The old index stays, and the new one is deleted. For platform admins.",
  tags: ["Operations"],
  access: "platform admin",
  request: { params: z.object({ month }) },
  responses: {
    200: answers("It will be given up. Every month that ever was asked for."),
    ...problemAnswers("not_found", "conflict", "validation_failed"),
  },
});

export const cancelReindex: RouteHandler<typeof cancelReindexRoute, AppEnv> = async (c) => {
  const { month: wanted } = c.req.valid("param");
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const { rows, changed } = await giveUp(db, wanted);
  const found = rows.find((row) => row.month === wanted);
  if (!found) throw unknownMonth();
  if (!changed && found.state !== "CANCELLING")
    throw new ApiError("conflict", `The month is ${found.state}: there is nothing to give up.`);
  c.executionCtx.waitUntil(wake(c));
  return c.json({ data: rows.map(answerOf) }, 200);
};

const unknownMonth = () => new ApiError("not_found", "There is no such month here.");

/** Maintenance looks for work every minute while a poller is awake, and rarely while all sleep. */
async function wake(c: Context<AppEnv>): Promise<void> {
  try {
    await wakePoller(c, "LOG_POLLER");
  } catch (error) {
    c.var.logger.warning("wake_failed", { reason: reasonOf(error) });
  }
}

function answerOf(row: Reindex): z.infer<typeof monthAnswer> {
  const isCopied = ["VERIFYING", "SWAPPING", "SWAPPED", "CLEANING", "DONE"].includes(row.state);
  const share =
    row.logsTotal === null ? null : Math.min(1, row.logsCopied / Math.max(1, row.logsTotal));
  return {
    month: row.month,
    state: row.state,
    source_index: row.sourceIndex,
    target_index: row.targetIndex,
    logs_copied: row.logsCopied,
    logs_total: row.logsTotal,
    progress: isCopied ? 1 : share,
    error: row.error,
    requested_by: row.requestedBy,
    requested_at: row.requestedAt.toISOString(),
    finished_at: row.finishedAt?.toISOString() ?? null,
  };
}
