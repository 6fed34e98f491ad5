import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import {
  changeOwnTenant,
  changeTenant as updateTenant,
  type OwnTenantChanges,
} from "../../db/tenants.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { noSuchTenant } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { problemAnswers } from "../problem-answers.ts";
import { readAudit } from "./read-audit.ts";
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
    read_audit: readAudit,
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
    "For platform admins; and the tenant's own admin may change `tokens_not_before` and `read_audit`. A change holds within a second.",
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
  const { tokens_not_before: tokensNotBefore, read_audit: level, ...rest } = c.req.valid("json");
  const own = { tokensNotBefore, readAudit: level };
  const db = connectDatabase(requireSection(config, "database"));
  const log = await ownLogOf(c, id, {
    action: "audit_log.settings_changed",
    resource_type: "tenant",
    resource_id: id,
  });
  const { row, changed, ownId } = tenantAdmin
    ? await changeOwnTenant(db, writeScope(tenantAdmin), onlyOwn(own, rest), log)
    : await updateTenant(db, id, { ...rest, ...own }, log);
  if (!row) throw noSuchTenant();
  if (!changed) {
    throw new ApiError("conflict", "tokens_not_before is later already, and never goes back.");
  }
  publishOwnLog(c, id, ownId);
  return c.json({ data: tenantAnswer(row) }, 200);
};

/** What a tenant's own admin may change. */
function onlyOwn(own: OwnTenantChanges, rest: object): OwnTenantChanges {
  const others = Object.keys(rest);
  if (others.length === 0) return own;
  throw new ApiError("forbidden", "Only a platform admin may change this: see errors.", {
    errors: others.map((name) => ({ path: `/${name}`, message: "needs the role platform_admin" })),
  });
}
