import { z } from "@hono/zod-openapi";
import { exportColumn, exportCompressions, exportFormats } from "../../events/export.ts";
import { exportColumns } from "../../events/csv-columns.ts";
import { filterQuery } from "../logs/log-query.ts";

/** Bytes of the body: 15 filters of 50 values each. */
export const maxExportBytes = 256 * 1024;

/** What an export is asked for. Its filters are the list's, checked by the same schema. */
export const exportRequest = z
  .strictObject({
    format: z.enum(exportFormats, `must be among ${exportFormats.join(", ")}`).default("csv"),
    compression: z
      .enum(exportCompressions, `must be among ${exportCompressions.join(", ")}`)
      .default("none"),
    columns: z
      .array(exportColumn)
      .min(1, "must hold at least one column")
      .refine((columns) => new Set(columns).size === columns.length, "must not name a column twice")
      .default([...exportColumns]),
    filters: filterQuery.default({}),
  })
  .openapi("NewExport");
