import { type RouteHandler, z } from "@hono/zod-openapi";
import { auditLogSchema } from "../../events/audit-log-answer.ts";
import { maxEntryBytes, sentAuditLog } from "../../events/audit-log.ts";
import { newAuditLog } from "../../events/new-audit-log.ts";
import { writers } from "../auth/access.ts";
import { writeScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { idempotencyHeaders, keyProblems, replayedHeader } from "../idempotency-key.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { checkOwnName, recordingOf } from "./recording.ts";
import { storeLogs } from "./store-logs.ts";
import { declareRoute } from "../route.ts";

const path = "/logs";

const { id, tenant_id, created_at } = auditLogSchema.shape;
const created = z
  .object({
    data: z
      .object({ id, tenant_id, created_at })
      .openapi("CreatedLog", { description: "What the service gave the log." }),
  })
  .openapi("CreatedLogAnswer", { description: "The log that was stored." });

export const createLogRoute = declareRoute({
  method: "post",
  path,
  operationId: "createLog",
  summary: "Store an audit log",
  tags: ["Logs"],
  access: writers,
  middleware: [jsonBody(maxEntryBytes)],
  request: {
    headers: idempotencyHeaders,
    body: { required: true, content: { "application/json": { schema: sentAuditLog } } },
  },
  responses: {
    201: {
      description: "Stored. It will be searchable within seconds.",
      headers: z.object({
        Location: z.string().openapi({
          description: "The path of the log.",
          examples: ["/api/v1/logs/019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
        }),
        ...replayedHeader,
      }),
      content: {
        "application/json": {
          schema: created,
        },
      },
    },
    ...problemAnswers(...bodyProblems, "event_id_reused", ...keyProblems),
  },
});

export const createLog: RouteHandler<typeof createLogRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const scope = writeScope(caller);
  const sent = c.req.valid("json");
  checkOwnName(scope, [{ path: "/user_id", userId: sent.user_id }]);
  const text = await c.req.text();
  const { logs } = await withSettings(scope, async (settings, scope) => {
    const log = newAuditLog(sent, text, recordingOf(caller, config, settings));
    return storeLogs(c, scope, path, [{ sent, text, log, at: "" }]);
  });
  const [made] = logs;
  if (!made) throw new Error("The log that was stored has no id.");
  c.header("Location", `/api/v1/logs/${made.id}`);
  return c.json(
    { data: { id: made.id, tenant_id: caller.tenantId, created_at: made.createdAt } },
    201,
  );
};
