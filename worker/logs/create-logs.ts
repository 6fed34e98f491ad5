import { type RouteHandler, z } from "@hono/zod-openapi";
import {
  maxBulkBytes,
  maxBulkEntries,
  maxEntryBytes,
  sentAuditLog,
} from "../../events/audit-log.ts";
import { elements, memberText } from "../../events/json-text.ts";
import { isTooLarge, newAuditLog } from "../../events/new-audit-log.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { writers } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { idempotencyHeaders, keyProblems, replayedHeader } from "../idempotency-key.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { checkOwnName, recordingOf } from "./recording.ts";
import { storeLogs } from "./store-logs.ts";
import { declareRoute } from "../route.ts";

const path = "/logs/bulk";

const sentLogs = z
  .strictObject({
    logs: z
      .array(sentAuditLog)
      .min(1, "must hold at least one log")
      .max(maxBulkEntries, `must hold at most ${maxBulkEntries} logs`)
      .openapi({ description: "The logs, in their order." }),
  })
  .openapi("NewAuditLogs", { description: "Audit logs that are stored together, or not at all." });

const created = z
  .object({
    data: z
      .object({
        affected_rows: z
          .int()
          .nonnegative()
          .max(maxBulkEntries)
          .openapi({
            description:
              "Logs that were stored: fewer than entries where an event_id was sent before.",
            examples: [2],
          }),
        log_ids: z
          .array(z.uuid())
          .max(maxBulkEntries)
          .openapi({
            description: "The id of each entry's log, in the order that they were sent.",
            examples: [["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"]],
          }),
      })
      .openapi("CreatedLogs", { description: "What became of the entries." }),
  })
  .openapi("CreatedLogsAnswer", { description: "The logs that were stored." });

export const createLogsRoute = declareRoute({
  method: "post",
  path,
  operationId: "createLogs",
  summary: "Store up to 100 audit logs, all or none",
  tags: ["Logs"],
  access: writers,
  countsAs: "bulks",
  middleware: [jsonBody(maxBulkBytes)],
  request: {
    headers: idempotencyHeaders,
    body: {
      required: true,
      content: {
        "application/json": {
          schema: sentLogs,
        },
      },
    },
  },
  responses: {
    201: {
      description:
        "All are stored, in the order that they were sent. An event_id that was sent before has the id of its first log.",
      headers: z.object(replayedHeader),
      content: {
        "application/json": {
          schema: created,
        },
      },
    },
    ...problemAnswers(...bodyProblems, "event_id_reused", ...keyProblems),
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
  const { logs, made } = await withSettings(scope, async (settings, scope) => {
    const recording = recordingOf(caller, config, settings);
    const entries = sent.map((one, n) => {
      const text = texts[n] ?? "{}";
      const at = `/logs/${n}`;
      return { sent: one, text, log: newAuditLog(one, text, recording, at), at };
    });
    return storeLogs(c, scope, path, entries);
  });
  c.var.event["logs"] = made;
  return c.json({ data: { affected_rows: made, log_ids: logs.map(({ id }) => id) } }, 201);
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
