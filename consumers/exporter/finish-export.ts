import { createHash } from "node:crypto";
import type { S3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import {
  type Claim,
  type ExportPart,
  finishExport as markDone,
  readParts,
} from "../../db/export-work.ts";
import type { ExportRow } from "../../db/exports.ts";
import { contentType, exportKey, fileName, manifestKey } from "../../events/export-files.ts";
import type { ExportManifest } from "../../events/export-manifest.ts";
import { UploadGone } from "./export-errors.ts";
import { repairParts } from "./repair-parts.ts";
import type { SliceTools } from "./run-slice.ts";

/**
 * Makes the file of its parts, puts the manifest beside it, and only then says DONE. May be repeated after
 * it was cut off anywhere.
 *
 * @throws UploadGone where neither the upload nor its file is there
 * @throws ExportLost when the claim does not hold any more
 */
export async function finishExport(
  tools: SliceTools,
  claim: Claim,
  row: ExportRow,
  uploadId: string | null,
): Promise<void> {
  const { db, s3 } = tools;
  const key = row.objectKey ?? exportKey(row, row.attempt);
  const kind = { contentType: contentType(row), fileName: fileName(key) };
  let parts = await readParts(db, claim, row.attempt);
  if (uploadId === null) await s3.putObject(key, "", kind);
  else if (!(await complete(s3, key, uploadId, parts))) {
    parts = await repairParts(tools, claim, row, key, uploadId, parts);
    if (!(await complete(s3, key, uploadId, parts)))
      throw new UploadGone("Complete refused parts that were just uploaded again");
  }
  const finishedAt = new Date();
  const manifest = manifestOf(row, key, parts, finishedAt);
  const beside = manifestKey(key);
  await s3.putObject(beside, JSON.stringify(manifest, null, 2), {
    contentType: "application/json",
    fileName: fileName(beside),
  });
  const { rows, bytes } = manifest;
  await markDone(db, claim, { objectKey: key, rows, bytes, finishedAt });
}

/** @returns false where S3 does not have the parts as they are listed */
async function complete(
  s3: S3,
  key: string,
  uploadId: string,
  parts: readonly ExportPart[],
): Promise<boolean> {
  try {
    await s3.completeUpload(key, uploadId, parts);
    return true;
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    const { code } = error;
    // A late upload of an overtaken exporter, or a part that S3 lost.
    if (code === "InvalidPart" || code === "EntityTooSmall") return false;
    const mayBeDone = code === "NoSuchUpload" || code === "PreconditionFailed" || error.isPassing;
    if (!mayBeDone) throw error;
    if (await isTheFile(s3, key, parts)) {
      if (code === "PreconditionFailed") await s3.abortUpload(key, uploadId);
      return true;
    }
    if (error.isPassing) throw error;
    throw new UploadGone(`Complete was answered with ${code}, and the object is not its file`);
  }
}

/** The object of a Complete whose answer was lost: as long as the parts together, with the ETag that S3 gives them. */
async function isTheFile(s3: S3, key: string, parts: readonly ExportPart[]): Promise<boolean> {
  const found = await s3.head(key);
  if (!found) return false;
  const bytes = parts.reduce((sum, part) => sum + part.bytes, 0);
  return found.bytes === bytes && found.etag.replaceAll('"', "") === multipartEtag(parts);
}

/** The MD5 of the parts' MD5s, and their number: the ETag of a multipart object under SSE-S3. */
function multipartEtag(parts: readonly ExportPart[]): string {
  const hash = createHash("md5");
  for (const part of parts) hash.update(part.etag.replaceAll('"', ""), "hex");
  return `${hash.digest("hex")}-${parts.length}`;
}

function manifestOf(
  row: ExportRow,
  key: string,
  parts: readonly ExportPart[],
  finishedAt: Date,
): ExportManifest {
  const withRows = parts.filter((part) => part.firstId !== null);
  return {
    version: 1,
    export_id: row.id,
    tenant_id: row.tenantId,
    requested_by: row.requestedBy,
    created_at: row.createdAt.toISOString(),
    finished_at: finishedAt.toISOString(),
    format: row.format,
    compression: row.compression,
    columns: row.columns,
    filters: row.shownFilters,
    file: fileName(key),
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    first_id: withRows.at(0)?.firstId ?? null,
    last_id: withRows.at(-1)?.lastId ?? null,
    parts: parts.map((part) => ({
      number: part.number,
      rows: part.rows,
      bytes: part.bytes,
      sha256: part.sha256,
      first_id: part.firstId,
      last_id: part.lastId,
    })),
  };
}
