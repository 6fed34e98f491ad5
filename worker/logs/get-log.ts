import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { readLog } from "../../db/read-logs.ts";
import { auditLogSchema } from "../../events/audit-log-answer.ts";
import { auditLogJson } from "../../events/audit-log.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { readScope } from "../auth/caller.ts";
import { readers } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonText } from "../json-text.ts";
import { auditRead } from "./audit-read.ts";
import { problemAnswers } from "../problem-answers.ts";
import { declareRoute } from "../route.ts";

const answer = z
  .object({ data: auditLogSchema })
  .openapi("AuditLogAnswer", { description: "One log." });

export const getLogRoute = declareRoute({
  method: "get",
  path: "/logs/{log_id}",
  operationId: "getLog",
  summary: "Read one audit log",
  tags: ["Logs"],
  access: readers,
  request: {
    params: z.object({
      log_id: z.guid("must be a UUID").openapi({
        format: "uuid",
        description: "The log's id.",
        examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
      }),
    }),
  },
  responses: {
    200: { description: "The log.", content: { "application/json": { schema: answer } } },
    ...problemAnswers("not_found", "validation_failed"),
  },
});

export const getLog: RouteHandler<typeof getLogRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { log_id: id } = c.req.valid("param");
  const db = connectDatabase(requireSection(config, "database"));
  const scope = readScope(caller);
  const found = await repeatable(() => readLog(db, scope, id));
  if (!found) throw new ApiError("not_found", "There is no log of this id.");
  const { log, readAudit } = found;
  auditRead(c, scope, readAudit, {
    action: "audit_log.read",
    event: () => ({ resource_type: "audit_log", resource_id: log.id }),
    what: log.id,
    from: "all",
  });
  return jsonText<z.infer<typeof answer>, 200>(c, `{"data":${auditLogJson(log)}}`, 200);
};
