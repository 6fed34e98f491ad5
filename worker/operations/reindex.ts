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
import type { AppEnv } from "../env.ts";
import { optionalJsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { wakePoller } from "../wake-poller.ts";
import { declareRoute } from "../route.ts";

const month = z
  .string()
  .regex(/^\d{4}\.(0[1-9]|1[0-2])$/, "must be a month, as 2026.11")
  .openapi({ example: "2026.11" });

const monthAnswer = z
  .object({
    month: z.string(),
    state: z.enum(reindexStates),
    source_index: z.string().nullable(),
    target_index: z.string().nullable(),
    logs_copied: z.int(),
    logs_total: z.int().nullable().openapi({
      description: "When the copy began; null where counting took too long.",
    }),
    progress: z.number().nullable().openapi({ description: "Of the copy, from 0 to 1." }),
    error: z.string().nullable().openapi({ description: "Why it failed, or last had to wait." }),
    requested_by: z.string(),
    requested_at: z.iso.datetime(),
    finished_at: z.iso.datetime().nullable(),
  })
  .openapi("Reindex");
const answer = z.object({ data: z.array(monthAnswer) });
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
  access: "platform admin",
  middleware: [optionalJsonBody(maxBodyBytes)],
  request: {
    body: {
      required: false,
      content: { "application/json": { schema: z.strictObject({ month: month.optional() }) } },
    },
  },
  responses: {
    202: answers("It is asked for. Every month that ever was, in their order."),
    ...problemAnswers(400, 401, 403, 404, 408, 413, 415, 422, 503),
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
  access: "platform admin",
  responses: { 200: answers("The months in their order."), ...problemAnswers(401, 403, 503) },
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
  access: "platform admin",
  request: { params: z.object({ month }) },
  responses: {
    200: answers("It will be given up. Every month that ever was asked for."),
    ...problemAnswers(401, 403, 404, 409, 422, 503),
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
