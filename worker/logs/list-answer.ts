import { z } from "@hono/zod-openapi";

/** What every answer that was searched says of its search. */
export const searchFields = {
  indexed_through: z.iso.datetime().openapi({
    description:
      "Every log of the tenant that was stored before this time is searchable, but for the unsearchable.",
    examples: ["2026-01-31T09:30:00.250Z"],
  }),
  source: z.enum(["opensearch", "postgres"]).openapi({
    description:
      "Where it comes from: `postgres` while OpenSearch does not answer. `search` matches parts of words then.",
    examples: ["opensearch"],
  }),
};
