import { createRoute, type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { writeLogs } from "../../db/write-logs.ts";
import {
  maxBulkBytes,
  maxBulkEntries,
  maxEntryBytes,
  sentAuditLog,
} from "../../events/audit-log.ts";
import { elements, memberText } from "../../events/json-text.ts";
import { isTooLarge, newAuditLog } from "../../events/new-audit-log.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { requireRole, writers } from "../auth/require-role.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { publishLogs } from "./publish-logs.ts";
import { checkOwnName, recordingOf, tenantUnknown } from "./recording.ts";

export const createLogsRoute = createRoute({
  method: "post",
  path: "/logs/bulk",
  operationId: "createLogs",
  summary: "Store up to 100 audit logs, all or none",
  middleware: [requireRole(...writers), jsonBody(maxBulkBytes)] as const,
  request: {
    body: {
      required: true,
      content: {
        "application/json": {
          schema: z.strictObject({
            logs: z
              .array(sentAuditLog)
              .min(1, "must hold at least one log")
              .max(maxBulkEntries, `must hold at most ${maxBulkEntries} logs`),
          }),
        },
      },
    },
  },
  responses: {
    201: {
      description: "All stored, in the order that they were sent.",
      content: {
        "application/json": {
          schema: z.object({
            data: z.object({ affected_rows: z.int(), log_ids: z.array(z.uuid()) }),
          }),
        },
      },
    },
    ...problemAnswers(400, 401, 403, 413, 415, 422, 503),
  },
});

export const createLogs: RouteHandler<typeof createLogsRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const scope = writeScope(caller);
  const { logs: sent } = c.req.valid("json");
  const texts = entryTexts(await c.req.text());
  checkOwnName(
    scope,
    sent.map((log, n) => ({ path: `/logs/${n}/user_id`, userId: log.user_id })),
  );
  const recording = recordingOf(caller, config);
  const logs = await Promise.all(
    sent.map((log, n) => newAuditLog(log, texts[n] ?? "{}", recording, `/logs/${n}`)),
  );
  const db = connectDatabase(requireSection(config, "database"));
  const stored = await writeLogs(db, scope, logs, requireSection(config, "tenants").autoCreate);
  if (!stored) throw tenantUnknown();
  const ids = stored.map((log) => log.id);
  publishLogs(c, caller.tenantId, ids);
  c.var.event["logs"] = ids.length;
  return c.json({ data: { affected_rows: ids.length, log_ids: ids } }, 201);
};

/** Each entry's own JSON text. */
function entryTexts(body: string): string[] {
  const list = memberText(body, "logs") ?? "[]";
  const texts = Array.from(elements(list), ({ start, end }) => list.slice(start, end));
  const errors = texts.flatMap((text, n) =>
    isTooLarge(text)
      ? [{ path: `/logs/${n}`, message: `is larger than ${maxEntryBytes} bytes` }]
      : [],
  );
  if (errors.length > 0)
    throw new ApiError("too_large", "Some entries are too large: see errors.", { errors });
  return texts;
}
