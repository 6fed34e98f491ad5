import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { changeTenant as updateTenant, endOwnTokens } from "../../db/tenants.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { noSuchTenant } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { problemAnswers } from "../problem-answers.ts";
import { retentionChanges } from "./retention-settings.ts";
import { tenantAnswer, tenantContent } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;
const maxAheadMs = 300_000;

const moment = z.iso
  .datetime({ offset: true, error: "must be an RFC 3339 time with zone" })
  .transform((text) => new Date(text))
  .refine((at) => at.getTime() >= 0, "must be after 1970")
  .refine((at) => at.getTime() <= Date.now() + maxAheadMs, "must be at most 5 minutes ahead")
  .openapi({ type: "string", format: "date-time" });

const changes = z
  .strictObject({
    name: nameText.nullable(),
    status: z.enum(["active", "suspended"], "must be active or suspended"),
    tokens_not_before: moment.openapi({
      description: "Ends all tokens that were issued before. It never goes back.",
    }),
    ...retentionChanges,
  })
  .partial()
  .refine((body) => Object.keys(body).length > 0, {
    error: "must change something",
    // An unknown field is a problem of its own.
    when: ({ issues }) => issues.length === 0,
  });

export const changeTenantRoute = declareRoute({
  method: "patch",
  path: "/tenants/{tenant_id}",
  operationId: "changeTenant",
  summary: "Change a tenant's settings",
  description:
    "For platform admins; and the tenant's own admin may change `tokens_not_before`. A change holds within a second.",
  access: "tenant admin",
  middleware: [jsonBody(maxBodyBytes)],
  request: {
    params: z.object({ tenant_id: nameText }),
    body: { required: true, content: { "application/json": { schema: changes } } },
  },
  responses: {
    200: { description: "The tenant as it is now.", content: tenantContent },
    ...problemAnswers(400, 401, 403, 404, 409, 413, 415, 422, 503),
  },
});

export const changeTenant: RouteHandler<typeof changeTenantRoute, AppEnv> = async (c) => {
  const { tenantAdmin, config } = c.var;
  const { tenant_id: id } = c.req.valid("param");
  const { tokens_not_before: tokensNotBefore, ...rest } = c.req.valid("json");
  const db = connectDatabase(requireSection(config, "database"));
  const { row, changed } = tenantAdmin
    ? await endOwnTokens(db, writeScope(tenantAdmin), onlyTokens(tokensNotBefore, rest))
    : await updateTenant(db, id, {
        name: rest.name,
        status: rest.status,
        tokensNotBefore,
        retentionDays: rest.retention_days,
        legalHold: rest.legal_hold,
      });
  if (!row) throw noSuchTenant();
  if (!changed) {
    throw new ApiError("conflict", "tokens_not_before is later already, and never goes back.");
  }
  return c.json({ data: tenantAnswer(row, config) }, 200);
};

/** What a tenant's own admin may change. */
function onlyTokens(tokensNotBefore: Date | undefined, rest: object): Date {
  const others = Object.keys(rest);
  if (tokensNotBefore !== undefined && others.length === 0) return tokensNotBefore;
  throw new ApiError("forbidden", "Only a platform admin may change this: see errors.", {
    errors: others.map((name) => ({ path: `/${name}`, message: "needs the role platform_admin" })),
  });
}
