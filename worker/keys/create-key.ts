import { type RouteHandler, z } from "@hono/zod-openapi";
import { createApiKey, keyRoles, maxKeys } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import { keyHash, keyPrefix } from "../auth/verify-key.ts";
import type { AppEnv } from "../env.ts";
import { idempotencyHeaders, keyOrOwn, keyProblems, refuseUndone } from "../idempotency-key.ts";
import { jsonBody } from "../middleware/json-body.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { bodyProblems, problemAnswers } from "../problem-answers.ts";
import { keyAnswer, keySchema } from "./key-answer.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { tenantParams } from "../tenants/tenant-answer.ts";
import { declareRoute } from "../route.ts";

const maxBodyBytes = 16_384;
const lastMoment = Date.parse("9999-12-31T23:59:59.999Z");

const wanted = z
  .strictObject({
    name: nameText.openapi({
      description: "For people: what the key is for.",
      examples: ["billing service"],
    }),
    roles: z
      .array(z.enum(keyRoles, `must be among ${keyRoles.join(", ")}`))
      .min(1, "must name at least one role")
      .refine((roles) => new Set(roles).size === roles.length, "must name each role once")
      .openapi({ description: "What it may do.", uniqueItems: true, examples: [["writer"]] }),
    expires_at: z.iso
      .datetime({ offset: true, error: "must be an RFC 3339 time with zone" })
      .transform((text) => new Date(text))
      .refine((at) => at.getTime() > Date.now(), "must be in the future")
      .refine((at) => at.getTime() <= lastMoment, "must be before the year 10000")
      .nullish()
      .openapi({
        type: ["string", "null"],
        format: "date-time",
        description: "It is refused from then on. Left out: never.",
        examples: ["2030-01-31T00:00:00Z"],
      }),
  })
  .openapi("NewApiKey", { description: "An API key that is to be made." });

const madeKey = z
  .object({
    ...keySchema.shape,
    key: z.string().openapi({
      description: "What it is used with: `Authorization: Bearer al_…`. It is never shown again.",
      examples: ["al_mEo8kWQ2mX0H1e5b9zT7c4N6v3s0pRkYd8fGhJtLqUw"],
    }),
  })
  .openapi("MadeApiKey", { description: "An API key with what it is used with." });

export const createKeyRoute = declareRoute({
  method: "post",
  path: "/tenants/{tenant_id}/keys",
  operationId: "createApiKey",
  summary: "Make an API key",
  description:
    "The key is in this answer and never again. Repeated with the same Idempotency-Key it is 409 `api_key_already_made`, whose Location is the key that was made: where nobody has it, revoke it and make another. For the tenant's admin, with a token.",
  tags: ["API keys"],
  access: "own admin",
  middleware: [jsonBody(maxBodyBytes)],
  request: {
    params: tenantParams,
    headers: idempotencyHeaders,
    body: { required: true, content: { "application/json": { schema: wanted } } },
  },
  responses: {
    201: {
      description: "Made. It may be used at once.",
      headers: z.object({
        Location: z.string().openapi({
          description: "The path of the key, by which it is revoked.",
          examples: ["/api/v1/tenants/acme/keys/019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
        }),
        "Cache-Control": z.literal("no-store").openapi({ description: "No cache may keep it." }),
      }),
      content: {
        "application/json": {
          schema: z
            .object({ data: madeKey })
            .openapi("MadeApiKeyAnswer", { description: "The key, this once." }),
        },
      },
    },
    ...problemAnswers(
      ...bodyProblems,
      "not_found",
      "conflict",
      ...keyProblems,
      "api_key_already_made",
    ),
  },
});

export const createKey: RouteHandler<typeof createKeyRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const { name, roles, expires_at: expiresAt = null } = c.req.valid("json");
  const random = crypto.getRandomValues(new Uint8Array(32));
  const key = keyPrefix + random.toBase64({ alphabet: "base64url", omitPadding: true });
  const made = { hash: keyHash(key), name, roles, expiresAt, createdBy: caller.sub };
  const db = connectDatabase(requireSection(config, "database"));
  const once = await keyOrOwn(c, `/tenants/${caller.tenantId}/keys`);
  const created = await withSettings(writeScope(caller), async (settings, scope) => {
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.key_created",
      resource_type: "api_key",
      resource_name: name,
      metadata: { roles, expires_at: expiresAt },
    });
    return createApiKey(db, scope, made, once, log);
  });
  const path = `/api/v1/tenants/${encodeURIComponent(caller.tenantId)}/keys`;
  switch (created.outcome) {
    case "done":
      publishOwnLog(c, caller.tenantId, created.ownId);
      c.header("Location", `${path}/${created.row.id}`);
      c.header("Cache-Control", "no-store");
      return c.json({ data: { ...keyAnswer(created.row), key } }, 201);
    case "made before":
      throw new ApiError(
        "api_key_already_made",
        `An earlier request with this Idempotency-Key made the API key ${created.id}, and what it is used with is shown once. If you do not have it, revoke that key, and make another under a new Idempotency-Key.`,
        { headers: { Location: `${path}/${created.id}` } },
      );
    case "too many":
      throw new ApiError(
        "conflict",
        `The tenant has ${maxKeys} keys: revoke one that is not used.`,
      );
    default:
      throw refuseUndone(created.outcome);
  }
};
