import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { startExport as storeExport } from "../../db/exports.ts";
import { defaultSettings } from "../../events/tenant-settings.ts";
import { memberText } from "../../events/json-text.ts";
import { requireSection } from "../../platform/config.ts";
import { readScope } from "../auth/caller.ts";
import { auditors } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import {
  idempotencyHeaders,
  keyOrOwn,
  keyProblems,
  refuseUndone,
  replayedHeader,
} from "../idempotency-key.ts";
import { logFilter } from "../logs/log-query.ts";
import { orItsHash } from "../logs/or-its-hash.ts";
import { recordingOf } from "../logs/recording.ts";
import { ownFiltersOf, shownFiltersOf } from "../logs/shown-filters.ts";
import { optionalJsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { auditLinks } from "./audit-links.ts";
import { answerOf, exportAnswer, exportLocation } from "./export-answer.ts";
import { exportRequest, maxExportBytes } from "./export-request.ts";
import { publishExport } from "./publish-export.ts";
import { storableFilter } from "./stored-filter.ts";
import { declareRoute } from "../route.ts";

const path = "/logs/export";

export const startExportRoute = declareRoute({
  method: "post",
  path,
  operationId: "startExport",
  summary: "Export audit logs to a file",
  description:
    "Every log that was stored before this request and that the filters select, in the order of ids. Without a body: every log of the tenant, as CSV.",
  tags: ["Exports"],
  access: auditors,
  middleware: [optionalJsonBody(maxExportBytes)],
  request: {
    headers: idempotencyHeaders,
    body: { required: false, content: { "application/json": { schema: exportRequest } } },
  },
  responses: {
    202: {
      description: "The export will begin. Ask for it at its Location.",
      headers: z.object({ Location: exportLocation, ...replayedHeader }),
      content: { "application/json": { schema: exportAnswer } },
    },
    ...problemAnswers(...bodyProblems, ...keyProblems),
  },
});

export const startExport: RouteHandler<typeof startExportRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const asked = c.req.valid("json");
  const { format, compression, columns } = asked;
  const kind = { format, compression, columns };
  const askedText = memberText(await c.req.text(), "filters") ?? "{}";
  const db = connectDatabase(requireSection(config, "database"));
  const filter = logFilter(asked.filters, caller.tenantId, config);
  const hashedToo = orItsHash(filter, caller.tenantId, config);
  const filters = storableFilter(hashedToo, recordingOf(caller, config, defaultSettings).mask);
  const key = await keyOrOwn(c, path);
  const started = await withSettings(readScope(caller), async (settings, scope) => {
    const { mask } = recordingOf(caller, config, settings);
    const wanted = {
      ...kind,
      filters,
      shownFilters: shownFiltersOf(askedText, mask),
      requestedBy: caller.sub,
    };
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.export_started",
      resource_type: "export",
      metadata: { filters: ownFiltersOf(askedText, mask), ...kind },
    });
    return storeExport(db, scope, wanted, key, log);
  });
  if (started.outcome !== "done") throw refuseUndone(started.outcome);
  const { row, isReplay, ownId } = started;
  c.var.event["export_id"] = row.id;
  if (isReplay) c.header("Idempotency-Replayed", "true");
  // Also an earlier request's: it may have been cut off before it could tell the exporter.
  if (row.status === "PENDING") publishExport(c, row.id);
  publishOwnLog(c, caller.tenantId, ownId);
  c.header("Location", `/api/v1/logs/export/${row.id}`);
  const data = await answerOf(row, config);
  auditLinks(c, [data]);
  return c.json({ data }, 202);
};
