import { type RouteHandler, z } from "@hono/zod-openapi";
import { connectDatabase } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import { listTenants as readTenants } from "../../db/tenants.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { requireSection } from "../../platform/config.ts";
import type { AppEnv } from "../env.ts";
import { cutPage, pageOf, pageQuery, unusableCursor } from "../page-query.ts";
import { problemAnswers } from "../problem-answers.ts";
import { tenantAnswer, tenantSchema } from "./tenant-answer.ts";
import { declareRoute } from "../route.ts";

export const listTenantsRoute = declareRoute({
  method: "get",
  path: "/tenants",
  operationId: "listTenants",
  summary: "List the tenants",
  description: "By their ids. For platform admins.",
  tags: ["Tenants"],
  access: "platform admin",
  request: {
    query: z.strictObject({
      ...pageQuery(2_048),
    }),
  },
  responses: {
    200: {
      description: "A page of tenants.",
      content: {
        "application/json": {
          schema: pageOf("TenantPage", tenantSchema),
        },
      },
    },
    ...problemAnswers("validation_failed"),
  },
});

export const listTenants: RouteHandler<typeof listTenantsRoute, AppEnv> = async (c) => {
  const { page_size: size, cursor } = c.req.valid("query");
  const after = cursor === undefined ? null : decodeCursor(cursor);
  const db = connectDatabase(requireSection(c.var.config, "database"));
  const rows = await repeatable(() => readTenants(db, after, size + 1));
  const { page, last } = cutPage(rows, size);
  return c.json(
    {
      items: page.map((row) => tenantAnswer(row, c.var.config)),
      next_cursor: last ? encodeCursor(last.id) : null,
    },
    200,
  );
};

/** A tenant's id may hold any character. */
function encodeCursor(id: string): string {
  return new TextEncoder().encode(id).toBase64({ alphabet: "base64url", omitPadding: true });
}

function decodeCursor(cursor: string): string {
  try {
    const bytes = Uint8Array.fromBase64(cursor, { alphabet: "base64url" });
    return nameText.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw unusableCursor("is not a cursor: send next_cursor as it was given");
  }
}
