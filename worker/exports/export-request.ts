import { z } from "@hono/zod-openapi";
import { exportColumn, exportCompressions, exportFormats } from "../../events/export.ts";
import { exportColumns } from "../../events/csv-columns.ts";
import { filterQuery } from "../logs/log-query.ts";

/** Bytes of the body: 15 filters of 50 values each. */
export const maxExportBytes = 256 * 1024;

/** Zod drops a key of this name before a check of unknown ones could see it. */
function refuseProto(filters: unknown, context: z.RefinementCtx): unknown {
  if (typeof filters === "object" && filters !== null && Object.hasOwn(filters, "__proto__"))
    context.addIssue({ code: "custom", path: ["__proto__"], message: "is not a known field" });
  return filters;
}

/** What an export is asked for. Its filters are the list's, checked by the same schema. */
export const exportRequest = z
  .strictObject({
    format: z
      .enum(exportFormats, `must be among ${exportFormats.join(", ")}`)
      .default("csv")
      .openapi({
        description: "CSV as RFC 4180 has it, with a header; or one JSON object a line.",
        examples: ["csv"],
      }),
    compression: z
      .enum(exportCompressions, `must be among ${exportCompressions.join(", ")}`)
      .default("none")
      .openapi({ description: "Of the file.", examples: ["gzip"] }),
    columns: z
      .array(exportColumn)
      .min(1, "must hold at least one column")
      .refine((columns) => new Set(columns).size === columns.length, "must not name a column twice")
      .default([...exportColumns])
      .openapi({
        description: "The fields that the file has, in this order; all, where it is left out.",
        uniqueItems: true,
        examples: [["id", "created_at", "action", "user_id"]],
      }),
    filters: z.preprocess(refuseProto, filterQuery).default({}),
  })
  .openapi("NewExport", { description: "What to export, and how." });
