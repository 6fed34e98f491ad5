import { z } from "@hono/zod-openapi";
import { time } from "../answer-fields.ts";

/** What every answer that was searched says of its search. */
export const searchFields = {
  indexed_through: time(
    "Every log of the tenant that was stored before this time is searchable, but for the unsearchable.",
  ),
  source: z.enum(["opensearch", "postgres"]).openapi({
    description:
      "Where it comes from: `postgres` while OpenSearch does not answer. `search` matches parts of words then.",
    examples: ["opensearch"],
  }),
};
