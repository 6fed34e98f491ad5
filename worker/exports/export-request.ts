import { z } from "@hono/zod-openapi";
import { maskEmail } from "../../events/email.ts";
import {
  exportColumn,
  exportCompressions,
  exportFormats,
  type ShownFilters,
} from "../../events/export.ts";
import { cleanText, cutText } from "../../events/clean-text.ts";
import { exportColumns } from "../../events/csv-columns.ts";
import { memberText } from "../../events/json-text.ts";
import { maskJson } from "../../events/mask-json.ts";
import type { How } from "../../events/mask-rules.ts";
import type { TenantMask } from "../../events/tenant-mask.ts";
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

const texts = z.record(z.string(), z.union([z.string(), z.array(z.string())]));

/**
 * The filters of a request for a person to read: as they were asked for, with addresses masked, and what
 * would be masked in a log masked here too.
 *
 * @param body the request's JSON text
 */
export function shownFiltersOf(body: string, mask: TenantMask): ShownFilters {
  const asked = memberText(body, "filters") ?? "{}";
  const shown = texts.parse(JSON.parse(maskJson(asked, "", mask).text));
  for (const [name, values] of Object.entries(texts.parse(JSON.parse(asked)))) {
    const how = fieldHow(name, mask);
    const clean = [values].flat().map((value) => cutText(cleanText(value)));
    if (how) shown[name] = clean.map((value) => mask.hide(how, value));
    else if (name === "email" && !mask.isEmailClear) shown[name] = clean.map(maskEmail);
  }
  return shown;
}

/** How the field is masked that a filter of this name compares. */
function fieldHow(name: string, { fields }: TenantMask): How | undefined {
  return Object.entries(fields).find(([field]) => field === name)?.[1];
}
