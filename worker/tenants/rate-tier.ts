import { z } from "@hono/zod-openapi";
import { defaultRateTier, rateTiers } from "../limits/rate-limits.ts";

/** The tier of a tenant's rate limits, as a platform admin sets it: null for the default. */
export const newRateTier = z
  .enum(rateTiers, `must be among ${rateTiers.join(", ")}, or null`)
  .nullable()
  .transform((tier) => tier ?? defaultRateTier)
  .openapi({
    type: ["string", "null"],
    enum: [...rateTiers, null],
    description: `How many requests the tenant may make; null is ${defaultRateTier}. For platform admins.`,
    examples: ["high"],
  });

/** The same in answers. A tier that a later release has set is shown as it is. */
export const shownRateTier = z.string().openapi({
  description: `Its rate limits: ${rateTiers.join(", ")}.`,
  examples: [defaultRateTier],
});
