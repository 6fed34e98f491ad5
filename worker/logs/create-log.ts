import { createRoute, type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { writeLogs } from "../../db/write-logs.ts";
import { maxEntryBytes, sentAuditLog } from "../../events/audit-log.ts";
import { newAuditLog } from "../../events/new-audit-log.ts";
import { requireSection } from "../../platform/config.ts";
import { requireRole, writers } from "../auth/require-role.ts";
import { writeScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { publishLogs } from "./publish-logs.ts";
import { checkOwnName, recordingOf, tenantUnknown } from "./recording.ts";

export const createLogRoute = createRoute({
  method: "post",
  path: "/logs",
  operationId: "createLog",
  summary: "Store an audit log",
  middleware: [requireRole(...writers), jsonBody(maxEntryBytes)] as const,
  request: { body: { required: true, content: { "application/json": { schema: sentAuditLog } } } },
  responses: {
    201: {
      description: "Stored. It will be searchable within seconds.",
      headers: z.object({ Location: z.string() }),
      content: {
        "application/json": {
          schema: z.object({
            data: z.object({ id: z.uuid(), tenant_id: z.string(), created_at: z.iso.datetime() }),
          }),
        },
      },
    },
    ...problemAnswers(400, 401, 403, 413, 415, 422, 503),
  },
});

export const createLog: RouteHandler<typeof createLogRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const scope = writeScope(caller);
  const sent = c.req.valid("json");
  checkOwnName(scope, [{ path: "/user_id", userId: sent.user_id }]);
  const log = await newAuditLog(sent, await c.req.text(), recordingOf(caller, config));
  const db = connectDatabase(requireSection(config, "database"));
  const stored = await writeLogs(db, scope, [log], requireSection(config, "tenants").autoCreate);
  const [made] = stored ?? [];
  if (!made) throw tenantUnknown();
  publishLogs(c, caller.tenantId, [made.id]);
  c.header("Location", `/api/v1/logs/${made.id}`);
  return c.json(
    { data: { id: made.id, tenant_id: caller.tenantId, created_at: made.createdAt } },
    201,
  );
};
