import { type RouteHandler, z } from "@hono/zod-openapi";
import { revokeApiKey } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { writeScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf, publishOwnLog } from "../own-log.ts";
import { problemAnswers } from "../problem-answers.ts";
import { keyAnswer, keySchema } from "./key-answer.ts";
import { declareRoute } from "../route.ts";

export const revokeKeyRoute = declareRoute({
  method: "delete",
  path: "/tenants/{tenant_id}/keys/{key_id}",
  operationId: "revokeApiKey",
  summary: "Revoke an API key",
  description: "It is refused everywhere within 30 seconds. For the tenant's admin, with a token.",
  access: "own admin",
  request: {
    params: z.object({
      tenant_id: nameText,
      key_id: z.guid("must be a UUID").openapi({ format: "uuid" }),
    }),
  },
  responses: {
    200: {
      description: "Revoked.",
      content: { "application/json": { schema: z.object({ data: keySchema }) } },
    },
    ...problemAnswers(401, 403, 404, 422, 503),
  },
});

export const revokeKey: RouteHandler<typeof revokeKeyRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const db = connectDatabase(requireSection(config, "database"));
  const log = await ownLogOf(c, caller.tenantId, {
    action: "audit_log.key_revoked",
    resource_type: "api_key",
  });
  const revoked = await revokeApiKey(db, writeScope(caller), c.req.valid("param").key_id, log);
  if (!revoked) throw new ApiError("not_found", "There is no key of this id.");
  publishOwnLog(c, caller.tenantId, revoked.ownId);
  return c.json({ data: keyAnswer(revoked.row) }, 200);
};
