import type { RouteHandler } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { readOwnTenant, readTenant } from "../../db/tenants.ts";
import { requireSection } from "../../platform/config.ts";
import { readScope } from "../auth/caller.ts";
import { noSuchTenant } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { problemAnswers } from "../problem-answers.ts";
import { tenantAnswer, tenantContent, tenantParams } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

export const getTenantRoute = declareRoute({
  method: "get",
  path: "/tenants/{tenant_id}",
  operationId: "getTenant",
  summary: "Read a tenant's settings",
  description: "For platform admins, and for the tenant's own admin.",
  tags: ["Tenants"],
  access: "tenant admin",
  request: { params: tenantParams },
  responses: {
    200: { description: "The tenant.", content: tenantContent },
    ...problemAnswers("not_found", "validation_failed"),
  },
});

export const getTenant: RouteHandler<typeof getTenantRoute, AppEnv> = async (c) => {
  const { tenantAdmin, config } = c.var;
  const { tenant_id: id } = c.req.valid("param");
  const db = connectDatabase(requireSection(config, "database"));
  const row = await repeatable(() =>
    tenantAdmin ? readOwnTenant(db, readScope(tenantAdmin)) : readTenant(db, id),
  );
  if (!row) throw noSuchTenant();
  return c.json({ data: tenantAnswer(row, config) }, 200);
};
