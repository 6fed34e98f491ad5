import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase, type Database } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { changeOwnTenant, changeTenant as updateTenant, readTenant } from "../../db/tenants.ts";
import { masking } from "../../events/masking.ts";
import { nameText } from "../../events/tenant-scope.ts";
import type { TenantSettings } from "../../events/tenant-settings.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { noSuchTenant } from "../auth/access.ts";
import type { AppEnv } from "../env.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { withSettings } from "./known-settings.ts";
import { newRateTier } from "./rate-tier.ts";
import { readAudit } from "./read-audit.ts";
import { retentionChanges } from "./retention-settings.ts";
import { tenantAnswer, tenantContent, tenantParams } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;
const maxAheadMs = 300_000;

const moment = z.iso
  .datetime({ offset: true, error: "must be an RFC 3339 time with zone" })
  .transform((text) => new Date(text))
  .refine((at) => at.getTime() >= 0, "must be after 1970")
  .refine((at) => at.getTime() <= Date.now() + maxAheadMs, "must be at most 5 minutes ahead")
  .openapi({ type: "string", format: "date-time", examples: ["2026-01-31T09:30:00Z"] });

const changes = z
  .strictObject({
    name: nameText.nullable().openapi({ description: "For people.", examples: ["Acme Ltd"] }),
    status: z
      .enum(["active", "suspended"], "must be active or suspended")
      .openapi({ description: "A suspended tenant's requests are 403.", examples: ["suspended"] }),
    tokens_not_before: moment.openapi({
      description:
        "Ends all tokens that were issued before. It never goes back, and is at most 5 minutes ahead.",
    }),
    read_audit: readAudit,
    masking: masking.nullable().openapi({
      description: "Takes the place of all rules of masking that the tenant has. Null: none.",
      examples: [{ keys: [{ key: "national_id", how: "hash" }] }],
    }),
    rate_tier: newRateTier,
    ...retentionChanges,
  })
  .partial()
  .refine((body) => Object.keys(body).length > 0, {
    error: "must change something",
    // An unknown field is a problem of its own.
    when: ({ issues }) => issues.length === 0,
  })
  .openapi("TenantChanges", { description: "What is to be changed.", minProperties: 1 });

export const changeTenantRoute = declareRoute({
  method: "patch",
  path: "/tenants/{tenant_id}",
  operationId: "changeTenant",
  summary: "Change a tenant's settings",
  description:
    "For platform admins; and the tenant's own admin may change `tokens_not_before`, `read_audit` and `masking`. A change holds for every write that begins after the answer, and within a second for every list.",
  tags: ["Tenants"],
  access: "tenant admin",
  middleware: [jsonBody(maxBodyBytes)],
  request: {
    params: tenantParams,
    body: { required: true, content: { "application/json": { schema: changes } } },
  },
  responses: {
    200: { description: "The tenant as it is now.", content: tenantContent },
    ...problemAnswers(...bodyProblems, "not_found", "conflict"),
  },
});

export const changeTenant: RouteHandler<typeof changeTenantRoute, AppEnv> = async (c) => {
  const { tenantAdmin, config } = c.var;
  const { tenant_id: id } = c.req.valid("param");
  const {
    tokens_not_before: tokensNotBefore,
    read_audit: level,
    masking,
    ...rest
  } = c.req.valid("json");
  const own = { tokensNotBefore, readAudit: level, masking };
  if (tenantAdmin) refuseOthers(rest);
  const db = connectDatabase(requireSection(config, "database"));
  const logOf = (settings: TenantSettings) =>
    ownLogOf(c, id, settings, {
      action: "audit_log.settings_changed",
      resource_type: "tenant",
      resource_id: id,
    });
  const all = {
    ...own,
    name: rest.name,
    status: rest.status,
    rateTier: rest.rate_tier,
    retentionDays: rest.retention_days,
    legalHold: rest.legal_hold,
  };
  const { row, changed, ownId } = tenantAdmin
    ? await withSettings(writeScope(tenantAdmin), (settings, scope) =>
        changeOwnTenant(db, scope, own, logOf(settings)),
      )
    : await updateTenant(db, id, all, logOf(await settingsOf(db, id)));
  if (!row) throw noSuchTenant();
  if (!changed) {
    throw new ApiError("conflict", "tokens_not_before is later already, and never goes back.");
  }
  publishOwnLog(c, id, ownId);
  return c.json({ data: tenantAnswer(row, config) }, 200);
};

/** By which a platform admin's own name is masked. */
async function settingsOf(db: Database, id: string): Promise<TenantSettings> {
  const row = await repeatable(() => readTenant(db, id));
  if (!row) throw noSuchTenant();
  return { version: row.settingsVersion, masking: row.masking };
}

/** @param rest what a tenant's own admin may not change */
function refuseOthers(rest: object): void {
  const others = Object.keys(rest);
  if (others.length === 0) return;
  throw new ApiError("forbidden", "Only a platform admin may change this: see errors.", {
    errors: others.map((name) => ({ path: `/${name}`, message: "needs the role platform_admin" })),
  });
}
