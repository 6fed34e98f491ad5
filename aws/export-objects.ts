import { manifestKey, tailKey } from "../events/export-files.ts";
import type { S3 } from "./s3.ts";

/**
 * Ends every upload under an export's key and removes what lay beside it of a part under way. A file that is
 * whole stays.
 *
 * @param uploadId of the upload that is known; others are found by asking
 * @throws S3Error
 */
export async function removeUnfinished(
  s3: S3,
  key: string,
  uploadId: string | null,
): Promise<void> {
  const open = new Set(await s3.openUploads(key));
  if (uploadId !== null) open.add(uploadId);
  for (const id of open) await s3.abortUpload(key, id);
  await s3.deleteObject(tailKey(key));
}

/** Removes everything that S3 has of an export, the file and its manifest too. */
export async function removeExport(s3: S3, key: string, uploadId: string | null): Promise<void> {
  // First the uploads: one that is completed in between is a file then.
  await removeUnfinished(s3, key, uploadId);
  await s3.deleteObject(key);
  await s3.deleteObject(manifestKey(key));
}
