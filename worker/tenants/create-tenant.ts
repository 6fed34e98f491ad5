import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { createTenant as insertTenant } from "../../db/tenants.ts";
import { platformKeys } from "../../events/idempotency-key.ts";
import { masking } from "../../events/masking.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import {
  idempotencyHeaders,
  keyOrOwn,
  keyProblems,
  refuseUndone,
  replayedHeader,
} from "../idempotency-key.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { readAudit } from "./read-audit.ts";
import { retentionChanges } from "./retention-settings.ts";
import { tenantAnswer, tenantContent } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;

const newTenant = z
  .strictObject({
    id: nameText.openapi({ description: "The tenant_id of its tokens.", examples: ["acme"] }),
    name: nameText.nullish().openapi({ description: "For people.", examples: ["Acme Ltd"] }),
    read_audit: readAudit.optional(),
    masking: masking.nullish().openapi({
      description: "Its own rules of masking.",
      examples: [{ keys: [{ key: "national_id", how: "hash" }] }],
    }),
    retention_days: retentionChanges.retention_days.optional(),
    legal_hold: retentionChanges.legal_hold.optional(),
  })
  .openapi("NewTenant", { description: "A tenant that is to be made." });

const path = "/tenants";

export const createTenantRoute = declareRoute({
  method: "post",
  path,
  operationId: "createTenant",
  summary: "Make a tenant",
  description:
    "With the defaults, but for what is sent, as a token of an unseen tenant makes it. Repeated without an Idempotency-Key, it is 409. For platform admins.",
  tags: ["Tenants"],
  access: "platform admin",
  middleware: [jsonBody(maxBodyBytes)],
  request: {
    headers: idempotencyHeaders,
    body: {
      required: true,
      content: {
        "application/json": {
          schema: newTenant,
        },
      },
    },
  },
  responses: {
    201: {
      description: "Made.",
      headers: z.object({
        Location: z.string().openapi({
          description: "The path of the tenant.",
          examples: ["/api/v1/tenants/acme"],
        }),
        ...replayedHeader,
      }),
      content: tenantContent,
    },
    ...problemAnswers(...bodyProblems, ...keyProblems, "conflict"),
  },
});

export const createTenant: RouteHandler<typeof createTenantRoute, AppEnv> = async (c) => {
  const { id, ...sent } = c.req.valid("json");
  const {
    name,
    masking,
    read_audit: readAudit,
    retention_days: retentionDays,
    legal_hold: legalHold,
  } = sent;
  const settings = { name, readAudit, masking, retentionDays, legalHold };
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const log = ownLogOf(
    c,
    id,
    { version: 0, masking: masking ?? null },
    {
      action: "audit_log.tenant_created",
      resource_type: "tenant",
      resource_id: id,
      metadata: { settings: sent },
    },
  );
  const key = await keyOrOwn(c, path, platformKeys);
  const made = await insertTenant(db, id, settings, key, log);
  if (made.outcome !== "done") throw refuseUndone(made.outcome);
  const { row, isReplay, ownId } = made;
  if (!row) throw new ApiError("conflict", "There is a tenant of this id.");
  if (isReplay) c.header("Idempotency-Replayed", "true");
  publishOwnLog(c, id, ownId);
  c.header("Location", `/api/v1/tenants/${encodeURIComponent(id)}`);
  return c.json({ data: tenantAnswer(row, c.var.config) }, 201);
};
