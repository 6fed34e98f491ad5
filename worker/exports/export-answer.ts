import { z } from "@hono/zod-openapi";
import { connectS3 } from "../../aws/s3.ts";
import type { ExportRow } from "../../db/exports.ts";
import {
  exportColumn,
  exportCompressions,
  exportFormats,
  exportStatuses,
  shownFilters,
} from "../../events/export.ts";
import { manifestKey } from "../../events/export-files.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { count, time } from "../answer-fields.ts";

const linkSeconds = 15 * 60;
const link = (description: string, example: string) =>
  z
    .url()
    .nullable()
    .openapi({ description, examples: [`https://files.example.com/${example}`] });

/** An export as answers give it. */
export const exportSchema = z
  .object({
    id: z.uuid().openapi({
      description: "`pipeline_id` of the routes.",
      examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
    }),
    tenant_id: z.string().openapi({ description: "Whose logs they are.", examples: ["acme"] }),
    status: z.enum(exportStatuses).openapi({
      description: "DONE, FAILED and CANCELLED last; a FAILED one can be retried.",
      examples: ["DONE"],
    }),
    format: z.enum(exportFormats).openapi({ description: "Of the file.", examples: ["csv"] }),
    compression: z
      .enum(exportCompressions)
      .openapi({ description: "Of the file.", examples: ["none"] }),
    columns: z
      .array(exportColumn)
      .openapi({ description: "In their order.", examples: [["id", "created_at", "action"]] }),
    filters: shownFilters.meta({
      description: "As they were asked for; addresses and secrets are masked.",
      examples: [{ action: "document.*" }],
    }),
    created_at: time("The export covers every log that was stored until then."),
    started_at: time("When work on it began.").nullable(),
    finished_at: time("When it came to its last status.").nullable(),
    requested_by: z.string().openapi({
      description: "The `sub` of the token that asked for it, or the API key's id.",
      examples: ["alice"],
    }),
    rows_exported: count("Logs that are in the file so far.", 1290),
    rows_total: count("An estimate until the export is DONE.", 1290).nullable(),
    rows_total_is_estimate: z
      .boolean()
      .openapi({ description: "Whether rows_total is one.", examples: [false] }),
    progress: z
      .number()
      .min(0)
      .max(1)
      .openapi({ description: "1 when the file is there.", examples: [0.42] }),
    bytes: count("Of the file so far.", 482_113),
    parts: count("Parts of the file that S3 has.", 1),
    attempt: count("Above 1 where it had to start over, since S3 had lost its upload.", 1),
    file_url: link(
      `Where to download the file. Made anew for each answer, works until expires_at; null before DONE.`,
      "acme/019c137e.csv?X-Amz-Signature=0f3c",
    ),
    manifest_url: link(
      "The same for its manifest: rows, bytes, first and last id, and the SHA-256 of every part.",
      "acme/019c137e.csv.manifest.json?X-Amz-Signature=9b1d",
    ),
    expires_at: time("Until when both links work; null before DONE.").nullable(),
    error: z
      .object({
        code: z
          .string()
          .openapi({ description: "Made for programs.", examples: ["storage_unavailable"] }),
        message: z
          .string()
          .openapi({ description: "For a person.", examples: ["The bucket does not answer."] }),
      })
      .nullable()
      .openapi({ description: "Why it FAILED; null otherwise." }),
  })
  .openapi("ExportPipeline", { description: "An export: how far it is, and where its file is." });

export const exportAnswer = z
  .object({ data: exportSchema })
  .openapi("ExportAnswer", { description: "One export." });
export type ExportAnswer = z.infer<typeof exportSchema>;

export const exportParams = z.object({
  pipeline_id: z.guid("must be a UUID").openapi({
    format: "uuid",
    description: "The export's id.",
    examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
  }),
});

/** Where the answer's export is. */
export const exportLocation = z.string().openapi({
  description: "The path of the export, to ask how far it is.",
  examples: ["/api/v1/logs/export/019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
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
  // A signature holds from the second in which it was made: never said to work for longer than it does.
  const now = Math.floor(Date.now() / 1000);
  const expiresAt = new Date((now + linkSeconds) * 1000).toISOString();
  const [file, manifest] = await Promise.all(
    [objectKey, manifestKey(objectKey)].map((key) => s3.presignGet(key, linkSeconds)),
  );
  return { file_url: file ?? null, manifest_url: manifest ?? null, expires_at: expiresAt };
}

export function exportUnknown(): ApiError {
  return new ApiError("not_found", "There is no export of this id.");
}
