import { type SQL, sql } from "drizzle-orm";
import { z } from "zod";
import { BufferPool } from "../platform/buffer-pool.ts";
import { asExporter, type Database, readingBy } from "./client.ts";
import { LineMaker, type Lines } from "./export-lines.ts";
import { marksWith, nullsOf, type RowForm, rowText } from "./export-row-text.ts";
import { readTexts } from "./read-texts.ts";

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
  nulls: z.number(),
  bytes: z.number(),
  text: z.string().nullable(),
});

/** Pages come into these: as many as are read ahead and worked on, mostly. */
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
  pieces: Pieces,
  limit: number,
): Promise<ReadPieces> {
  const read = await tryPieces(db, tenantId, form, pieces, limit, "");
  // Some log has the short marks in a value of its own.
  return (
    read ?? (await tryPieces(db, tenantId, form, pieces, limit, crypto.randomUUID())) ?? misread()
  );
}

function misread(): never {
  throw new Error("The values of a log cannot be told apart.");
}

/**
 * @param suffix of the marks between values
 * @returns undefined where some value has what stands between values, or instead of one
 */
async function tryPieces(
  db: Database,
  tenantId: string,
  form: RowForm,
  { from, condition, ends }: Pieces,
  limit: number,
  suffix: string,
): Promise<ReadPieces | undefined> {
  const longest = Math.floor(maxPieceWork / limit);
  // No value of a log can be known to begin with it.
  const begin = crypto.randomUUID();
  const marks = marksWith(suffix);
  const reading = sql`
    select n, rows, nulls, bytes,
      case when sum(bytes) over (rows unbounded preceding) - bytes < ${maxPageBytes}::integer then text end as text
    from ${from}, lateral (
      select count(*)::integer as rows, sum(nulls)::integer as nulls, sum(size)::integer as bytes,
        case when max(size) <= ${longest}::integer and (count(*) = 1 or sum(size) <= ${maxPieceBytes}::integer)
          then ${begin}::text || string_agg(line, ${marks.separator}::text) filter (where size <= ${longest}::integer) end as text
      from (
        select line, nulls, octet_length(line) as size from (
          select ${rowText(form.columns, marks)} as line, ${nullsOf(form.columns)} as nulls
          from audit_logs where ${condition} order by audit_logs.id limit ${limit}::integer
        ) as log
      ) as sized
      having count(*) > 0
    ) as chunk`;
  const maker = new LineMaker(form, marks, buffers);
  const texts: (Lines | undefined)[] = [];
  const reader = readingBy(db, (response) =>
    readTexts(response, begin, buffers, (bytes, start) => {
      const made = maker.take(bytes, start);
      texts.push("rows" in made ? made : undefined);
      return made.end;
    }),
  );
  const [found] = await asExporter(reader, tenantId, [reader.execute(reading)]);
  const release = () => maker.release();
  const read: ReadPieces = { chunks: [], cut: undefined, rows: 0, bytes: 0, release };
  let nth = 0;
  // Null where no text was given, undefined where its values cannot be told apart.
  const given = found.rows.map((one) => {
    const row = pieceRow.parse(one);
    return { ...row, lines: row.text === null ? null : texts[nth++] };
  });
  const isMisread = given.some(
    ({ rows, nulls, lines }) => lines !== null && (lines?.rows !== rows || lines.nulls !== nulls),
  );
  if (isMisread) {
    release();
    return undefined;
  }
  for (const { n, rows, bytes, lines } of given.toSorted((a, b) => a.n - b.n)) {
    read.rows += rows;
    read.bytes += bytes;
    if (read.cut !== undefined) continue;
    if (lines) {
      const { firstId, lastId } = lines;
      read.chunks.push({ rows, firstId, lastId, lines: maker.bytesOf(lines) });
    }
    if (!lines || (rows === limit && lines.lastId !== ends[n - 1])) read.cut = n - 1;
  }
  return read;
}
