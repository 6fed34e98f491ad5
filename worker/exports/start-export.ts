import { createHmac } from "node:crypto";
import { createRoute, type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { startExport as storeExport } from "../../db/exports.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { readScope } from "../auth/caller.ts";
import { auditors, requireRole } from "../auth/require-role.ts";
import type { AppEnv } from "../env.ts";
import { logFilter } from "../logs/log-query.ts";
import { recordingOf } from "../logs/recording.ts";
import { optionalJsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { answerOf, exportAnswer } from "./export-answer.ts";
import { exportRequest, maxExportBytes, shownFiltersOf } from "./export-request.ts";
import { publishExport } from "./publish-export.ts";
import { storableFilter } from "./stored-filter.ts";

export const startExportRoute = createRoute({
  method: "post",
  path: "/logs/export",
  operationId: "startExport",
  summary: "Export audit logs to a file",
  description:
    "Every log that was stored before this request and that the filters select, in the order of ids. Without a body: every log of the tenant, as CSV.",
  middleware: [requireRole(...auditors), optionalJsonBody(maxExportBytes)] as const,
  request: {
    headers: z.object({
      "Idempotency-Key": z
        .string()
        .min(1, "must not be empty")
        .max(255, "must be at most 255 characters")
        .optional()
        .openapi({
          description: "The same key and body within 24 hours is answered with the same export.",
        }),
    }),
    body: { required: false, content: { "application/json": { schema: exportRequest } } },
  },
  responses: {
    202: {
      description: "The export will begin. Ask for it at its Location.",
      headers: z.object({
        Location: z.string(),
        "Idempotency-Replayed": z.literal("true").optional(),
      }),
      content: { "application/json": { schema: exportAnswer } },
    },
    ...problemAnswers(400, 401, 403, 413, 415, 422, 503),
  },
});

export const startExport: RouteHandler<typeof startExportRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const asked = c.req.valid("json");
  const body = await c.req.text();
  const { keyRule, hashSecret } = recordingOf(caller, config);
  const filter = await logFilter(asked.filters, caller.tenantId, config);
  const started = await storeExport(
    connectDatabase(requireSection(config, "database")),
    readScope(caller),
    {
      format: asked.format,
      compression: asked.compression,
      columns: asked.columns,
      filters: storableFilter(filter, keyRule),
      shownFilters: shownFiltersOf(body, keyRule),
      requestedBy: caller.sub,
    },
    c.req.header("Idempotency-Key"),
    createHmac("sha256", hashSecret).update(`export:${body}`).digest("base64url"),
  );
  if (!started.sameBody) {
    throw new ApiError(
      "idempotency_key_reused",
      "This Idempotency-Key was used with another body in the last 24 hours. Send a new key.",
    );
  }
  c.var.event["export_id"] = started.row.id;
  if (started.replayed) c.header("Idempotency-Replayed", "true");
  else publishExport(c, started.row.id);
  c.header("Location", `/api/v1/logs/export/${started.row.id}`);
  return c.json({ data: await answerOf(started.row, config) }, 202);
};
