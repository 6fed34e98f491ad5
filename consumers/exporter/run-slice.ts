import type { Client } from "@opensearch-project/opensearch";
import type { S3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import type { Database } from "../../db/client.ts";
import { exportRange, isSettled } from "../../db/export-pages.ts";
import { databaseForExport, readWalPosition } from "../../db/export-replica.ts";
import {
  type Claim,
  recordPart,
  recordScan,
  recordTotal,
  recordUpload,
} from "../../db/export-work.ts";
import type { ExportRow } from "../../db/exports.ts";
import { contentType, exportKey, fileName, tailKey } from "../../events/export-files.ts";
import { sha256Hex } from "../../events/sha256.ts";
import type { BufferPool } from "../../platform/buffer-pool.ts";
import type { DatabaseConfig } from "../../platform/config.ts";
import { ExportRefused, UploadGone } from "./export-errors.ts";
import { finishExport } from "./finish-export.ts";
import {
  maxParts,
  type Part,
  PartCutter,
  type PartSize,
  type UnfinishedPart,
} from "./part-cutter.ts";
import { type RowSource, rowSource } from "./read-pages.ts";

export type SliceTools = {
  db: Database;
  /** Where rows are read from, as soon as it shows all of them. */
  replica?: DatabaseConfig | undefined;
  s3: S3;
  /** Undefined where no OpenSearch is configured. */
  search: Client | undefined;
  /** Throws when the claim was lost in the meantime. */
  check: () => void;
  /** Where parts take their buffers from, and leave them for the next slice. */
  buffers?: BufferPool;
  spent?: Spent;
  sizeOf?: PartSize;
  sliceMs?: number;
  graceMs?: number;
};

/** `more` where the time was over, `waiting` where logs before the bound are not all there yet. */
export type SliceEnd = "done" | "more" | "waiting";

/** Requests that were made in an invocation, by all slices in it: it may make 1,000. */
export type Spent = { requests: number };

/** A slice ends at the first part after this time, so that a large export lets small ones through. */
const defaultSliceMs = 20_000;
/** For so much longer it waits for the part to be full, which else is put aside. */
const defaultGraceMs = 10_000;
/** A slice ends at the first part after so many requests of the invocation, and within a part after so many more. */
const maxRequests = 600;
const maxRequestsMore = 150;
/** Whether all logs are there is asked after so long, then after twice as long, and so on; then the place is left to others. */
const firstSettleMs = 100;
const mostSettleMs = 3_500;

/**
 * Goes on with an export from its checkpoint: pages of rows into parts, parts to S3, each with a
 * checkpoint; at the end the file and its manifest. The next page is read, and the last part uploaded,
 * while this one is encoded.
 *
 * @throws ExportLost, UploadGone, ExportRefused, and what Postgres, OpenSearch and S3 throw
 */
export async function runSlice(tools: SliceTools, claim: Claim, row: ExportRow): Promise<SliceEnd> {
  const { db, search } = tools;
  const deadline = Date.now() + (tools.sliceMs ?? defaultSliceMs);
  const isSearch = row.filters.search.length > 0 && search !== undefined;
  const spent = tools.spent ?? { requests: 0 };
  for (let waitMs = firstSettleMs, waited = 0; ; waitMs *= 2) {
    spent.requests++;
    if (await isSettled(db, row.tenantId, row.upperId, isSearch)) break;
    tools.check();
    waited += waitMs;
    if (waited > mostSettleMs) return "waiting";
    await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
  const { replica } = tools;
  const rowsDb = replica
    ? await databaseForExport(db, replica, claim, await readWalPosition(db, row.tenantId))
    : db;
  if (row.rowsTotal === null) {
    const whole = rowSource(rowsDb, search, exportRange(row, null));
    await recordTotal(db, claim, await whole.count());
  }
  const { after, begun } = await startOf(tools, row);
  const source = rowSource(rowsDb, search, exportRange(row));
  return new Slice(tools, claim, row, source, begun, deadline).run(after);
}

/** Where the last slice stopped; behind the last part where what it put aside is not there. */
async function startOf(
  { s3 }: SliceTools,
  row: ExportRow,
): Promise<{ after: string; begun: UnfinishedPart | null }> {
  const { tail, objectKey } = row;
  const scanned = exportRange(row, row.scannedTo ?? row.lastId).after;
  if (tail === null || objectKey === null) return { after: scanned, begun: null };
  const bytes = await s3.getObject(tailKey(objectKey));
  return bytes && (await sha256Hex(bytes)) === tail.sha256
    ? { after: scanned, begun: { ...tail, bytes } }
    : { after: exportRange(row).after, begun: null };
}

class Slice {
  private readonly cutter: PartCutter;
  /** Rejections are seen when the next part waits for this one. */
  private uploading: Promise<void> = Promise.resolve();
  private uploadId: string | null;
  private readonly spent: Spent;
  private readonly tools: SliceTools;
  private readonly claim: Claim;
  private readonly row: ExportRow;
  private readonly source: RowSource;
  private readonly deadline: number;

  constructor(
    tools: SliceTools,
    claim: Claim,
    row: ExportRow,
    source: RowSource,
    begun: UnfinishedPart | null,
    deadline: number,
  ) {
    this.tools = tools;
    this.claim = claim;
    this.row = row;
    this.source = source;
    this.deadline = deadline;
    this.spent = tools.spent ?? { requests: 0 };
    this.uploadId = row.uploadId;
    const { sizeOf, buffers } = tools;
    this.cutter = new PartCutter(row, row.parts + 1, { sizeOf, begun, buffers });
  }

  /** @param after the id to go on behind */
  async run(after: string): Promise<SliceEnd> {
    try {
      return await this.readAll(after);
    } catch (error) {
      // What is under way must not go on unwatched, and its own failure says more.
      await this.uploading;
      throw error;
    }
  }

  private async readAll(after: string): Promise<SliceEnd> {
    let next = this.read(after);
    for (;;) {
      const page = await next;
      this.tools.check();
      if (!page.isLast) {
        next = this.read(page.after);
        // It is awaited in the next round; a slice that ends before does not care.
        next.catch(() => {});
      }
      for (const chunk of page.chunks) {
        const part = await this.cutter.add(chunk);
        if (!part) continue;
        await this.upload(part);
        if (this.isOver()) {
          await this.uploading;
          return "more";
        }
      }
      page.release();
      if (page.isLast) break;
      if (this.cutter.isEmpty ? this.isOver() : this.isLongOver()) {
        await this.uploading;
        await this.putAside(page.after);
        return "more";
      }
    }
    const last = await this.cutter.end();
    if (last) await this.upload(last);
    await this.uploading;
    await finishExport(this.tools, this.claim, this.row, this.uploadId);
    return "done";
  }

  private isOver(): boolean {
    return Date.now() > this.deadline || this.spent.requests > maxRequests;
  }

  private isLongOver(): boolean {
    const grace = this.tools.graceMs ?? defaultGraceMs;
    const most = maxRequests + maxRequestsMore;
    return Date.now() > this.deadline + grace || this.spent.requests > most;
  }

  private read(after: string) {
    // Where it ends is asked for besides, for many pages at once.
    this.spent.requests += 1.1;
    return this.source.page(after);
  }

  /** Ends the slice within a part: what there is of it goes to S3, and the next slice goes on with it. */
  private async putAside(scannedTo: string): Promise<void> {
    const { db, s3 } = this.tools;
    const key = this.row.objectKey ?? exportKey(this.row, this.row.attempt);
    if (this.cutter.isEmpty) return recordScan(db, this.claim, scannedTo, null, key);
    const { bytes, ...rows } = await this.cutter.suspend();
    const sha256 = await sha256Hex(bytes);
    const beside = tailKey(key);
    const kind = { contentType: "application/octet-stream", fileName: fileName(beside) };
    await s3.putObject(beside, bytes, kind);
    await recordScan(db, this.claim, scannedTo, { ...rows, sha256 }, key);
  }

  /** Begins the upload of a part, once the one before is over. */
  private async upload(part: Part): Promise<void> {
    if (part.number > maxParts) {
      throw new ExportRefused(
        "too_large",
        "The export is too large for one file. Narrow it with from and to.",
      );
    }
    await this.uploading;
    this.tools.check();
    this.spent.requests += 2;
    this.uploading = this.store(part);
    this.uploading.catch(() => {});
  }

  private async store({ bytes: encoded, release, ...part }: Part): Promise<void> {
    const { db, s3 } = this.tools;
    const { row, claim } = this;
    const bytes = await encoded();
    const digest = await sha256Hex(bytes);
    const key = row.objectKey ?? exportKey(row, row.attempt);
    const uploadId = this.uploadId ?? (await this.createUpload(key));
    try {
      const etag = await s3.uploadPart(key, uploadId, part.number, bytes, digest);
      const stored = { ...part, etag, sha256: digest, bytes: bytes.byteLength };
      release();
      await recordPart(db, claim, row.attempt, stored);
    } catch (error) {
      if (error instanceof S3Error && error.code === "NoSuchUpload")
        throw new UploadGone("UploadPart was answered with NoSuchUpload");
      throw error;
    }
  }

  private async createUpload(key: string): Promise<string> {
    const { db, s3 } = this.tools;
    const kind = { contentType: contentType(this.row), fileName: fileName(key) };
    const uploadId = await s3.createUpload(key, kind);
    try {
      await recordUpload(db, this.claim, key, uploadId);
    } catch (error) {
      // No one else knows of it.
      await s3.abortUpload(key, uploadId);
      throw error;
    }
    this.uploadId = uploadId;
    return uploadId;
  }
}
