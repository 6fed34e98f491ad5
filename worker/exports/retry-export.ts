import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { retryExport as makePending } from "../../db/change-export.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import {
  idempotencyHeaders,
  idempotencyKeyOf,
  keyProblems,
  refuseUndone,
  replayedHeader,
} from "../idempotency-key.ts";
import { anyBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { problemAnswers } from "../problem-answers.ts";
import { auditLinks } from "./audit-links.ts";
import {
  answerOf,
  exportAnswer,
  exportLocation,
  exportParams,
  exportUnknown,
} from "./export-answer.ts";
import { publishExport } from "./publish-export.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;

export const retryExportRoute = declareRoute({
  method: "post",
  path: "/logs/export/{pipeline_id}/retry",
  operationId: "retryExport",
  summary: "Try a failed export again",
  description: "It goes on from its checkpoint, where S3 still has what was uploaded.",
  tags: ["Exports"],
  access: auditors,
  middleware: [anyBody(maxBodyBytes)],
  request: { params: exportParams, headers: idempotencyHeaders },
  responses: {
    202: {
      description: "It will go on.",
      headers: z.object({ Location: exportLocation, ...replayedHeader }),
      content: { "application/json": { schema: exportAnswer } },
    },
    ...problemAnswers(
      "malformed_json",
      "not_found",
      "request_timeout",
      "conflict",
      "too_large",
      "validation_failed",
      ...keyProblems,
    ),
  },
});

export const retryExport: RouteHandler<typeof retryExportRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { pipeline_id: id } = c.req.valid("param");
  const db = connectDatabase(requireSection(config, "database"));
  const key = await idempotencyKeyOf(c, `/logs/export/${id.toLowerCase()}/retry`);
  const retried = await withSettings(readScope(caller), async (settings, scope) => {
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.export_retried",
      resource_type: "export",
    });
    return makePending(db, scope, id, key, log);
  });
  if (retried.outcome !== "done") throw refuseUndone(retried.outcome);
  const { row, changed, isReplay, ownId } = retried;
  if (!row) throw exportUnknown();
  if (!changed)
    throw new ApiError(
      "conflict",
      row.status === "FAILED"
        ? "The export failed more than 7 days ago: start a new one."
        : `The export is ${row.status}: only a FAILED one can be retried.`,
    );
  if (isReplay) c.header("Idempotency-Replayed", "true");
  if (row.status === "PENDING") publishExport(c, id);
  publishOwnLog(c, caller.tenantId, ownId);
  c.header("Location", `/api/v1/logs/export/${id}`);
  const data = await answerOf(row, config);
  auditLinks(c, [data]);
  return c.json({ data }, 202);
};
