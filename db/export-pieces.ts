import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { BufferPool } from "../platform/buffer-pool.ts";
import { asExporter, type Database, readingBy } from "./client.ts";
import { type RowForm, rowSeparator, rowText } from "./export-row-text.ts";
import { readTexts, type TextsRead } from "./read-texts.ts";
import { type Lines, linesIn } from "./text-lines.ts";

/** Some logs of an export, one after the other, as they stand in its file; at least one. */
export type ExportChunk = {
  rows: number;
  firstId: string;
  lastId: string;
  lines: Uint8Array;
};

/** What became of some pieces of a range. */
export type ReadPieces = {
  /** Of the pieces up to the first that was cut, and of that one where its first rows were given. */
  chunks: ExportChunk[];
  /** The first piece, from 0, that has more than was given of it. */
  cut: number | undefined;
  /** What was found, given or not. */
  rows: number;
  bytes: number;
  /** As of a page. */
  release: () => void;
};

/** A page is of at most so many pieces, each of which gives one text. */
export const maxPieces = 16;
/** Of the texts before its last one a page has fewer bytes: up to four of them are in memory at once. */
export const maxPageBytes = 1024 * 1024;
/** A text of more than one row is not longer. */
const maxPieceBytes = 512 * 1024;
/** Rows of a piece, at most. */
export const maxPieceRows = 1024;
/** What Postgres puts together of a piece before it can say that it is too long. */
const maxPieceWork = 64 * 1024 * 1024;
const pieceRow = z.object({
  n: z.coerce.number(),
  rows: z.number(),
  bytes: z.number(),
  first_id: z.string(),
  last_id: z.string(),
  text: z.string().nullable(),
});

/** Pages come into these: as many as are read ahead and worked on, by two exports. */
const buffers = new BufferPool(8 * 1024 * 1024);

/** Pieces as they stand behind `from`, what selects the logs of each, and where each ends. */
export type Pieces = { from: SQL; condition: SQL | undefined; ends: readonly string[] };

/**
 * Reads pieces, each as one text: to Postgres, SQL over HTTP and the driver every single value costs more than
 * its bytes. One without logs gives nothing.
 *
 * @param limit how many logs of a piece are looked at
 */
export async function readPieces(
  db: Database,
  tenantId: string,
  form: RowForm,
  { from, condition, ends }: Pieces,
  limit: number,
): Promise<ReadPieces> {
  const longest = Math.floor(maxPieceWork / limit);
  // No value of a log can be known to begin with it.
  const marker = crypto.randomUUID();
  const reading = sql`
    select n, rows, bytes, first_id, last_id,
      case when sum(bytes) over (rows unbounded preceding) - bytes < ${maxPageBytes}::integer then text end as text
    from ${from}, lateral (
      select count(*)::integer as rows, sum(size)::integer as bytes, min(id) as first_id, max(id) as last_id,
        case when max(size) <= ${longest}::integer and (count(*) = 1 or sum(size) <= ${maxPieceBytes}::integer)
          then ${marker}::text || string_agg(line, ${rowSeparator(form)}) filter (where size <= ${longest}::integer) end as text
      from (
        select id, line, octet_length(line) as size from (
          select audit_logs.id::text collate "C" as id, ${rowText(form)} as line
          from audit_logs where ${condition} order by audit_logs.id limit ${limit}::integer
        ) as log
      ) as sized
      having count(*) > 0
    ) as chunk`;
  let taken: TextsRead<Lines> | undefined;
  const take = (bytes: Uint8Array<ArrayBuffer>, start: number) =>
    linesIn(form.format, bytes, start);
  const reader = readingBy(db, async (response) => {
    taken = await readTexts(response, marker, buffers, take);
    return taken.answer;
  });
  const [found] = await asExporter(reader, tenantId, [reader.execute(reading)]);
  const { texts = [], buffer } = taken ?? {};
  const release = () => buffer && buffers.give(buffer);
  const read: ReadPieces = { chunks: [], cut: undefined, rows: 0, bytes: 0, release };
  let nth = 0;
  const given = found.rows.map((one) => {
    const row = pieceRow.parse(one);
    return { ...row, lines: row.text === null ? undefined : texts[nth++]?.lines };
  });
  for (const row of given.toSorted((a, b) => a.n - b.n)) {
    const { n, rows, bytes, first_id: firstId, last_id: lastId, lines } = row;
    read.rows += rows;
    read.bytes += bytes;
    if (read.cut !== undefined) continue;
    if (lines) read.chunks.push({ rows, firstId, lastId, lines });
    if (!lines || (rows === limit && lastId !== ends[n - 1])) read.cut = n - 1;
  }
  return read;
}
