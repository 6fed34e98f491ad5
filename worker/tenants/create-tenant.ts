import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { createTenant as insertTenant } from "../../db/tenants.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { retentionChanges } from "./retention-settings.ts";
import { tenantAnswer, tenantContent } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;

export const createTenantRoute = declareRoute({
  method: "post",
  path: "/tenants",
  operationId: "createTenant",
  summary: "Make a tenant",
  description:
    "As a token of an unseen tenant makes it, with the defaults for what is not said. Repeated, it is 409. For platform admins.",
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
            retention_days: retentionChanges.retention_days.optional(),
            legal_hold: retentionChanges.legal_hold.optional(),
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
  const { id, name, retention_days: retentionDays, legal_hold: legalHold } = c.req.valid("json");
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const row = await insertTenant(db, id, { name, retentionDays, legalHold });
  if (!row) throw new ApiError("conflict", "There is a tenant of this id.");
  c.header("Location", `/api/v1/tenants/${encodeURIComponent(id)}`);
  return c.json({ data: tenantAnswer(row, c.var.config) }, 201);
};
