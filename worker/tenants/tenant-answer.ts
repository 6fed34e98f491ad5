import { z } from "@hono/zod-openapi";
import type { TenantRow } from "../../db/tenants.ts";
import { readAudit } from "./read-audit.ts";

export const tenantSchema = z
  .object({
    id: z.string(),
    name: z.string().nullable(),
    status: z
      .enum(["active", "suspended"])
      .openapi({ description: "A suspended tenant's requests are 403." }),
    tokens_not_before: z.iso.datetime().nullable().openapi({
      description: "Tokens that were issued before are refused; null where none were ended.",
    }),
    read_audit: readAudit,
    created_at: z.iso.datetime(),
  })
  .openapi("Tenant");

export function tenantAnswer(row: TenantRow): z.infer<typeof tenantSchema> {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    tokens_not_before: row.tokensNotBefore?.toISOString() ?? null,
    read_audit: row.readAudit,
    created_at: row.createdAt.toISOString(),
  };
}

/** What the routes of one tenant answer with. */
export const tenantContent = {
  "application/json": { schema: z.object({ data: tenantSchema }) },
};
