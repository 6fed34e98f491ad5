import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { createTenant as insertTenant } from "../../db/tenants.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { problemAnswers } from "../problem-answers.ts";
import { readAudit } from "./read-audit.ts";
import { tenantAnswer, tenantContent } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;

export const createTenantRoute = declareRoute({
  method: "post",
  path: "/tenants",
  operationId: "createTenant",
  summary: "Make a tenant",
  description:
    "With the defaults, as a token of an unseen tenant makes it. Repeated, it is 409. For platform admins.",
  access: "platform admin",
  middleware: [jsonBody(maxBodyBytes)],
  request: {
    body: {
      required: true,
      content: {
        "application/json": {
          schema: z.strictObject({
            id: nameText.openapi({ description: "The tenant_id of its tokens." }),
            name: nameText.nullish().openapi({ description: "For people." }),
            read_audit: readAudit.optional(),
          }),
        },
      },
    },
  },
  responses: {
    201: {
      description: "Made.",
      headers: z.object({ Location: z.string() }),
      content: tenantContent,
    },
    ...problemAnswers(400, 401, 403, 409, 413, 415, 422, 503),
  },
});

export const createTenant: RouteHandler<typeof createTenantRoute, AppEnv> = async (c) => {
  const { id, name = null, read_audit: level = null } = c.req.valid("json");
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const log = await ownLogOf(c, id, {
    action: "audit_log.tenant_created",
    resource_type: "tenant",
    resource_id: id,
    metadata: { name, read_audit: level },
  });
  const made = await insertTenant(db, { id, name, readAudit: level }, log);
  if (!made) throw new ApiError("conflict", "There is a tenant of this id.");
  publishOwnLog(c, id, made.ownId);
  c.header("Location", `/api/v1/tenants/${encodeURIComponent(id)}`);
  return c.json({ data: tenantAnswer(made.row) }, 201);
};
