import { type RouteHandler, z } from "@hono/zod-openapi";
import { revokeApiKey } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { withSettings } from "../tenants/known-settings.ts";
import { problemAnswers } from "../problem-answers.ts";
import { keyAnswer, keyId, keySchema } from "./key-answer.ts";
import { tenantParams } from "../tenants/tenant-answer.ts";
import { declareRoute } from "../route.ts";

export const revokeKeyRoute = declareRoute({
  method: "delete",
  path: "/tenants/{tenant_id}/keys/{key_id}",
  operationId: "revokeApiKey",
  summary: "Revoke an API key",
  description: "It is refused everywhere within 30 seconds. For the tenant's admin, with a token.",
  tags: ["API keys"],
  access: "own admin",
  request: {
    params: tenantParams.extend({ key_id: keyId }),
  },
  responses: {
    200: {
      description: "Revoked.",
      content: {
        "application/json": {
          schema: z
            .object({ data: keySchema })
            .openapi("ApiKeyAnswer", { description: "One key." }),
        },
      },
    },
    ...problemAnswers("not_found", "validation_failed"),
  },
});

export const revokeKey: RouteHandler<typeof revokeKeyRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const db = connectDatabase(requireSection(config, "database"));
  const revoked = await withSettings(writeScope(caller), async (settings, scope) => {
    const log = ownLogOf(c, caller.tenantId, settings, {
      action: "audit_log.key_revoked",
      resource_type: "api_key",
    });
    return revokeApiKey(db, scope, c.req.valid("param").key_id, log);
  });
  if (!revoked) throw new ApiError("not_found", "There is no key of this id.");
  publishOwnLog(c, caller.tenantId, revoked.ownId);
  return c.json({ data: keyAnswer(revoked.row) }, 200);
};
