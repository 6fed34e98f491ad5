import { z } from "@hono/zod-openapi";
import type { TenantRow } from "../../db/tenants.ts";
import { masking } from "../../events/masking.ts";
import { nameText } from "../../events/tenant-scope.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { time } from "../answer-fields.ts";
import { readAudit } from "./read-audit.ts";
import { shownRateTier } from "./rate-tier.ts";
import { retentionAnswer, retentionShape } from "./retention-settings.ts";

export const tenantSchema = z
  .object({
    id: z.string().openapi({ description: "The tenant_id of its tokens.", examples: ["acme"] }),
    name: z
      .string()
      .nullable()
      .openapi({ description: "For people.", examples: ["Acme Ltd"] }),
    status: z
      .enum(["active", "suspended"])
      .openapi({ description: "A suspended tenant's requests are 403.", examples: ["active"] }),
    tokens_not_before: time(
      "Tokens that were issued before are refused; null where none were ended.",
      "2026-01-31T09:30:00.000Z",
    ).nullable(),
    read_audit: readAudit,
    masking: masking.nullable().openapi({
      description: "Rules of masking beside those that always hold; null where it has none.",
      examples: [{ keys: [{ key: "national_id", how: "hash" }] }],
    }),
    ...retentionShape,
    rate_tier: shownRateTier,
    created_at: time("When it was made."),
  })
  .openapi("Tenant", { description: "Who has logs here, and by which settings." });

export const tenantParams = z.object({
  tenant_id: nameText.openapi({ description: "The tenant's id.", examples: ["acme"] }),
});

export function tenantAnswer(row: TenantRow, config: Config): z.infer<typeof tenantSchema> {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    tokens_not_before: row.tokensNotBefore?.toISOString() ?? null,
    read_audit: row.readAudit,
    masking: row.masking,
    rate_tier: row.rateTier,
    ...retentionAnswer(row, requireSection(config, "retention").defaultDays),
    created_at: row.createdAt.toISOString(),
  };
}

/** What the routes of one tenant answer with. */
export const tenantContent = {
  "application/json": {
    schema: z
      .object({ data: tenantSchema })
      .openapi("TenantAnswer", { description: "One tenant." }),
  },
};
