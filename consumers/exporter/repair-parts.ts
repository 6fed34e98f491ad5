import { S3Error } from "../../aws/s3-answers.ts";
import { exportRange } from "../../db/export-pages.ts";
import { type Claim, type ExportPart, replacePart } from "../../db/export-work.ts";
import type { ExportRow } from "../../db/exports.ts";
import { idAfter } from "../../events/ids.ts";
import { sha256Hex } from "../../events/sha256.ts";
import { UploadGone } from "./export-errors.ts";
import { PartCutter } from "./part-cutter.ts";
import { rowSource } from "./read-pages.ts";
import type { SliceTools } from "./run-slice.ts";

/**
 * Makes and uploads again those parts that S3 does not have as the checkpoint has them: it lost them, or an
 * exporter that was overtaken uploaded its own in their place.
 *
 * @returns all parts, as S3 has them now
 * @throws UploadGone where the upload is not there, or the logs do not give the same part any more
 */
export async function repairParts(
  tools: SliceTools,
  claim: Claim,
  row: ExportRow,
  key: string,
  uploadId: string,
  parts: readonly ExportPart[],
): Promise<ExportPart[]> {
  const { s3, db } = tools;
  const there = new Map((await partsThere(tools, key, uploadId)).map((one) => [one.number, one]));
  const repaired: ExportPart[] = [];
  let before: string | null = null;
  for (const part of parts) {
    const found = there.get(part.number);
    const isWhole = found?.bytes === part.bytes && bare(found.etag) === bare(part.etag);
    if (isWhole) repaired.push(part);
    else {
      const bytes = await makeAgain(tools, row, part, before);
      const sha256 = await sha256Hex(bytes);
      // Compressed bytes may differ; verify-export looks at the rows.
      if (row.compression === "none" && sha256 !== part.sha256)
        throw new UploadGone(`part ${part.number} cannot be made again`);
      const etag = await s3.uploadPart(key, uploadId, part.number, bytes, sha256);
      const stored = { ...part, etag, sha256, bytes: bytes.byteLength };
      await replacePart(db, claim, row.attempt, stored);
      repaired.push(stored);
    }
    before = part.lastId ?? before;
  }
  return repaired;
}

async function partsThere({ s3 }: SliceTools, key: string, uploadId: string) {
  try {
    return await s3.listParts(key, uploadId);
  } catch (error) {
    if (error instanceof S3Error && error.status === 404)
      throw new UploadGone(`ListParts was answered with ${error.code}`);
    throw error;
  }
}

/** The rows behind one id up to another, inclusive, whatever size they make. */
async function makeAgain(
  { db, search, check }: SliceTools,
  row: ExportRow,
  part: ExportPart,
  before: string | null,
): Promise<Uint8Array<ArrayBuffer>> {
  const wanted = exportRange(row, before);
  const range = { ...wanted, upper: part.lastId === null ? wanted.after : idAfter(part.lastId) };
  const source = rowSource(db, search, range);
  // Never full before its last row: compressed again it may be a little larger.
  const cutter = new PartCutter(row, part.number, { sizeOf: () => part.bytes * 2 + 1 });
  let rows = 0;
  for (let after = range.after; ;) {
    const page = await source.page(after);
    check();
    for (const chunk of page.chunks) {
      await cutter.add(chunk);
      rows += chunk.rows;
    }
    page.release();
    if (rows > part.rows) break;
    if (page.isLast) break;
    after = page.after;
  }
  if (rows !== part.rows) throw new UploadGone(`part ${part.number} has other rows now`);
  const made = await cutter.end();
  return made ? made.bytes() : new Uint8Array(0);
}

const bare = (etag: string) => etag.replaceAll('"', "");
