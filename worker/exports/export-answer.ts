import { z } from "@hono/zod-openapi";
import { connectS3 } from "../../aws/s3.ts";
import type { ExportRow } from "../../db/exports.ts";
import {
  exportCompressions,
  exportFormats,
  exportStatuses,
  shownFilters,
} from "../../events/export.ts";
import { manifestKey } from "../../events/export-files.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";

const linkSeconds = 15 * 60;
const time = z.iso.datetime().nullable();

/** An export as answers give it. */
export const exportSchema = z
  .strictObject({
    id: z.uuid(),
    tenant_id: z.string(),
    status: z.enum(exportStatuses),
    format: z.enum(exportFormats),
    compression: z.enum(exportCompressions),
    columns: z.array(z.string()),
    filters: shownFilters.meta({ description: "As they were asked for; addresses are masked." }),
    created_at: z.iso
      .datetime()
      .openapi({ description: "The export covers every log that was stored until then." }),
    started_at: time,
    finished_at: time,
    requested_by: z.string(),
    rows_exported: z.int(),
    rows_total: z
      .int()
      .nullable()
      .openapi({ description: "An estimate until the export is DONE." }),
    rows_total_is_estimate: z.boolean(),
    progress: z.number().min(0).max(1),
    bytes: z.int(),
    parts: z.int(),
    attempt: z.int().openapi({
      description: "Above 1 where the export had to start over, since S3 had lost its upload.",
    }),
    file_url: z
      .url()
      .nullable()
      .openapi({ description: "Works until expires_at. Null before DONE." }),
    manifest_url: z.url().nullable(),
    expires_at: time,
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
  })
  .openapi("ExportPipeline");

export const exportAnswer = z.object({ data: exportSchema });
export type ExportAnswer = z.infer<typeof exportSchema>;

export const exportParams = z.object({
  pipeline_id: z.guid("must be a UUID").openapi({ format: "uuid" }),
});

/** An export's row as the answer gives it. Its links are made anew each time, since they expire. */
export async function answerOf(row: ExportRow, config: Config): Promise<ExportAnswer> {
  const isDone = row.status === "DONE";
  const links = isDone && row.objectKey !== null ? await linksTo(row.objectKey, config) : noLinks;
  return {
    id: row.id,
    tenant_id: row.tenantId,
    status: row.status,
    format: row.format,
    compression: row.compression,
    columns: row.columns,
    filters: row.shownFilters,
    created_at: row.createdAt.toISOString(),
    started_at: row.startedAt?.toISOString() ?? null,
    finished_at: row.finishedAt?.toISOString() ?? null,
    requested_by: row.requestedBy,
    rows_exported: row.rowsExported,
    rows_total: row.rowsTotal,
    rows_total_is_estimate: row.rowsTotal !== null && !isDone,
    progress: isDone ? 1 : progressOf(row),
    bytes: row.bytes,
    parts: row.parts,
    attempt: row.attempt,
    ...links,
    error:
      row.errorCode === null
        ? null
        : { code: row.errorCode, message: row.errorMessage ?? "The export failed." },
  };
}

/** Never 1 before the file is there: the total is an estimate. */
function progressOf({ rowsExported, rowsTotal }: ExportRow): number {
  if (rowsTotal === null || rowsTotal === 0) return 0;
  return Math.min(Math.floor((rowsExported / rowsTotal) * 1000) / 1000, 0.999);
}

const noLinks = { file_url: null, manifest_url: null, expires_at: null };

async function linksTo(objectKey: string, config: Config) {
  const s3 = connectS3(requireSection(config, "s3"));
  const expiresAt = new Date(Date.now() + linkSeconds * 1000).toISOString();
  const [file, manifest] = await Promise.all(
    [objectKey, manifestKey(objectKey)].map((key) => s3.presignGet(key, linkSeconds)),
  );
  return { file_url: file ?? null, manifest_url: manifest ?? null, expires_at: expiresAt };
}

export function exportUnknown(): ApiError {
  return new ApiError("not_found", "There is no export of this id.");
}
