import type { RouteHandler } from "@hono/zod-openapi";
import type { Context } from "hono";
import { removeExport } from "../../aws/export-objects.ts";
import { connectS3 } from "../../aws/s3.ts";
import { connectDatabase } from "../../db/client.ts";
import { cancelExport as markCancelled } from "../../db/change-export.ts";
import type { ExportRow } from "../../db/exports.ts";
import { exportKey } from "../../events/export-files.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import { s3Log } from "../../platform/s3-log.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { problemAnswers } from "../problem-answers.ts";
import { answerOf, exportAnswer, exportParams, exportUnknown } from "./export-answer.ts";
import { declareRoute } from "../route.ts";

export const cancelExportRoute = declareRoute({
  method: "delete",
  path: "/logs/export/{pipeline_id}",
  operationId: "cancelExport",
  summary: "Cancel an export",
  description: "What was uploaded of it is removed. A finished export cannot be cancelled.",
  tags: ["Exports"],
  access: auditors,
  request: { params: exportParams },
  responses: {
    200: {
      description: "It is cancelled.",
      content: { "application/json": { schema: exportAnswer } },
    },
    ...problemAnswers("not_found", "conflict", "validation_failed"),
  },
});

export const cancelExport: RouteHandler<typeof cancelExportRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { pipeline_id: id } = c.req.valid("param");
  const db = connectDatabase(requireSection(config, "database"));
  const { row, ownId } = await withSettings(readScope(caller), async (settings, scope) => {
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.export_cancelled",
      resource_type: "export",
    });
    return markCancelled(db, scope, id, log);
  });
  if (!row) throw exportUnknown();
  if (row.status !== "CANCELLED")
    throw new ApiError("conflict", "The export is done: there is nothing to cancel.");
  publishOwnLog(c, caller.tenantId, ownId);
  c.executionCtx.waitUntil(removeFiles(c, row));
  return c.json({ data: await answerOf(row, config) }, 200);
};

/** An exporter at work does so too, once it sees that it was cancelled; where none is, no one else would. */
async function removeFiles(c: Context<AppEnv>, row: ExportRow): Promise<void> {
  const { s3 } = c.var.config.sections;
  // Nothing was begun.
  if (!s3 || row.startedAt === null) return;
  const key = row.objectKey ?? exportKey(row, row.attempt);
  try {
    const { caller, config, requestId } = c.var;
    const about = { request_id: requestId, tenant_id: caller.tenantId, export_id: row.id };
    const client = connectS3(s3, { onCall: s3Log(config.logLevel, about) });
    await removeExport(client, key, row.uploadId);
  } catch (error) {
    c.var.logger.warning("abort_failed", { export_id: row.id, reason: reasonOf(error) });
  }
}
