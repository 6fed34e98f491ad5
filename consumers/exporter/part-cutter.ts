import type { ExportChunk } from "../../db/export-pieces.ts";
import { csvHeader, type ExportColumn } from "../../events/csv-columns.ts";
import type { ExportCompression, ExportFormat } from "../../events/export.ts";
import { BufferPool } from "../../platform/buffer-pool.ts";
import { partEncoder } from "./part-encoder.ts";

/** Rows, without saying where they lie. */
type Rows = { rows: number; firstId: string | null; lastId: string | null };
export type Part = Rows & {
  number: number;
  bytes: () => Promise<Uint8Array<ArrayBuffer>>;
  /** To be called when the bytes are not needed any more: a later part takes their place. */
  release: () => void;
};
/** A part that is not full yet, as it was put aside. */
export type UnfinishedPart = Rows & { bytes: Uint8Array<ArrayBuffer> };

const mebibyte = 1024 * 1024;
/** S3 takes 10,000 parts: with 5 MiB each a file would end at 49 GiB, so they grow up to 24 MiB. */
export const maxParts = 10_000;
const growsEvery = 500;

/** The least size of a part in bytes, by its number from 1; the last of a file may be smaller. */
export type PartSize = (number: number) => number;
const partSize: PartSize = (number) => (5 + Math.floor((number - 1) / growsEvery)) * mebibyte;

/** A pool that keeps two or three buffers of ordinary parts. */
export const partBuffers = () => new BufferPool(18 * mebibyte);

/**
 * Makes parts of chunks, each of whole ones. The file is the same bytes whatever chunks the rows come in and
 * however often it is put aside; where one part ends and the next begins may differ by a chunk.
 */
export class PartCutter {
  private encoder;
  /** Of a CSV file, as long as it waits for the first logs. */
  private header: Uint8Array | undefined;
  private rows = 0;
  private firstId: string | null = null;
  private lastId: string | null = null;
  private number: number;
  private readonly pool: BufferPool;
  private readonly wanted: Wanted;
  private readonly sizeOf: PartSize;

  /** @param number of the first part that it makes: 1 begins with the header of a CSV file */
  constructor(
    wanted: Wanted,
    number: number,
    { sizeOf = partSize, begun = null, buffers = partBuffers() }: CutterOptions = {},
  ) {
    this.pool = buffers;
    this.wanted = wanted;
    this.number = number;
    this.sizeOf = sizeOf;
    this.encoder = partEncoder(wanted.compression, sizeOf(number), buffers, begun?.bytes);
    if (begun) {
      this.rows = begun.rows;
      this.firstId = begun.firstId;
      this.lastId = begun.lastId;
    } else if (number === 1 && wanted.format === "csv")
      this.header = new TextEncoder().encode(csvHeader(wanted.columns));
  }

  /** Whether rows wait that are in no part yet. */
  get isEmpty(): boolean {
    return this.rows === 0;
  }

  /** Takes some logs. Returns a part where they were its last. */
  async add({ rows, firstId, lastId, lines }: ExportChunk): Promise<Part | undefined> {
    await this.writeHeader();
    await this.encoder.write(lines);
    this.rows += rows;
    this.firstId ??= firstId;
    this.lastId = lastId;
    return this.encoder.size() < this.sizeOf(this.number) ? undefined : this.cut();
  }

  /** The last part: what is left, or nothing where the file is whole without it. */
  async end(): Promise<Part | undefined> {
    const isNeeded =
      this.rows > 0 ||
      (this.number === 1 && (this.header !== undefined || this.wanted.compression === "gzip"));
    if (!isNeeded) return undefined;
    await this.writeHeader();
    return this.cut();
  }

  /** Puts aside what there is of a part: another cutter goes on with it. This one takes no more. */
  async suspend(): Promise<UnfinishedPart> {
    await this.writeHeader();
    const { rows, firstId, lastId } = this;
    return { rows, firstId, lastId, bytes: await this.encoder.end() };
  }

  private async writeHeader(): Promise<void> {
    const { header } = this;
    this.header = undefined;
    if (header) await this.encoder.write(header);
  }

  private cut(): Part {
    const { encoder, number, rows, firstId, lastId } = this;
    this.number++;
    this.rows = 0;
    this.firstId = null;
    this.lastId = null;
    this.encoder = partEncoder(this.wanted.compression, this.sizeOf(this.number), this.pool);
    return {
      number,
      rows,
      firstId,
      lastId,
      bytes: () => encoder.end(),
      release: () => encoder.release(),
    };
  }
}

type CutterOptions = {
  sizeOf?: PartSize | undefined;
  /** What there is of the first part already. */
  begun?: UnfinishedPart | null;
  /** Where parts take their buffers from, and leave them when they are released. */
  buffers?: BufferPool | undefined;
};

type Wanted = {
  format: ExportFormat;
  compression: ExportCompression;
  columns: readonly ExportColumn[];
};
