import { type RouteHandler, z } from "@hono/zod-openapi";
import { listApiKeys, maxKeys } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { requireSection } from "../../platform/config.ts";
import { readScope } from "../auth/caller.ts";
import type { AppEnv } from "../env.ts";
import { problemAnswers } from "../problem-answers.ts";
import { keyAnswer, keySchema } from "./key-answer.ts";
import { tenantParams } from "../tenants/tenant-answer.ts";
import { declareRoute } from "../route.ts";

export const listKeysRoute = declareRoute({
  method: "get",
  path: "/tenants/{tenant_id}/keys",
  operationId: "listApiKeys",
  summary: "List a tenant's API keys",
  description: "Those that are not revoked, the oldest first: 100 at most. For the tenant's admin.",
  tags: ["API keys"],
  access: "own admin",
  request: { params: tenantParams },
  responses: {
    200: {
      description: "The keys, without what they are used with.",
      content: {
        "application/json": {
          schema: z
            .object({
              items: z.array(keySchema).max(maxKeys).openapi({ description: "The oldest first." }),
            })
            .openapi("ApiKeyList", { description: "A tenant's keys." }),
        },
      },
    },
    ...problemAnswers("not_found", "validation_failed"),
  },
});

export const listKeys: RouteHandler<typeof listKeysRoute, AppEnv> = async (c) => {
  const { caller, config } = c.var;
  const db = connectDatabase(requireSection(config, "database"));
  const rows = await repeatable(() => listApiKeys(db, readScope(caller)));
  return c.json({ items: rows.map(keyAnswer) }, 200);
};
