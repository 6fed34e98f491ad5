import { z } from "zod";
import { csvHeader } from "../events/csv-columns.ts";

const [LF, CR, QUOTE, COMMA, BRACE] = [10, 13, 34, 44, 123];
/** An entry is at most 256 KiB as it is sent; nothing that an export makes of it comes near this. */
const MAX_ROW_BYTES = 16 * 1024 * 1024;

/** What stands in one part of a file. */
export type FoundRows = {
  rows: number;
  firstId: string | null;
  lastId: string | null;
  /** The first thing that is wrong with the rows themselves. */
  problem: string | undefined;
};

/** Counts the rows of a file that comes in pieces, and keeps no more of it than one row. */
export type RowReader = {
  read(bytes: Buffer): void;
  /** What the part held that ends here. */
  endPart(): FoundRows;
};

/** A reader of the export's format. Without an `id` among the columns the ids that it finds are null. */
export function rowReader(format: "csv" | "jsonl", columns: readonly string[]): RowReader {
  return format === "csv" ? new CsvRows(columns) : new JsonRows(columns.includes("id"));
}

class Tally {
  #part: FoundRows = { rows: 0, firstId: null, lastId: null, problem: undefined };
  #total = 0;
  #last = "";

  /** Counts a row; `wrong` is what is wrong with it. */
  row(id: string | undefined, wrong?: string): void {
    this.#part.rows++;
    this.#total++;
    if (wrong) this.problem(`row ${this.#total} ${wrong}`);
    if (id === undefined) return;
    // UUIDs of version 7 are in the order of their text.
    if (id <= this.#last)
      this.problem(`row ${this.#total} has the id ${id}, which does not come after ${this.#last}`);
    this.#last = id;
    this.#part.firstId ??= id;
    this.#part.lastId = id;
  }

  cut(): void {
    this.problem(`row ${this.#total + 1} is not whole in it`);
  }

  problem(text: string): void {
    this.#part.problem ??= text;
  }

  endPart(): FoundRows {
    const found = this.#part;
    this.#part = { rows: 0, firstId: null, lastId: null, problem: undefined };
    return found;
  }
}

class CsvRows implements RowReader {
  readonly #columns: number;
  readonly #idColumn: number;
  readonly #header: Buffer;
  readonly #tally = new Tally();
  #headerRead = 0;
  #column = 0;
  #id = "";
  #isQuoted = false;
  #isInside = false;
  #before = 0;

  constructor(columns: readonly string[]) {
    this.#columns = columns.length;
    this.#idColumn = columns.indexOf("id");
    this.#header = Buffer.from(csvHeader(columns));
  }

  read(bytes: Buffer): void {
    let at = this.#readHeader(bytes);
    let start = at;
    // Not the fields themselves: this loop sees every byte.
    let isQuoted = this.#isQuoted;
    for (; at < bytes.length; at++) {
      const byte = bytes[at];
      if (byte === QUOTE) isQuoted = !isQuoted;
      else if (!isQuoted && (byte === COMMA || byte === LF)) {
        if (this.#column === this.#idColumn) this.#keepId(bytes, start, at);
        start = at + 1;
        if (byte === COMMA) this.#column++;
        else this.#endRow(at > 0 ? bytes[at - 1] : this.#before);
      }
    }
    if (bytes.length === 0) return;
    if (this.#column === this.#idColumn) this.#keepId(bytes, start, at);
    this.#isQuoted = isQuoted;
    this.#before = bytes[at - 1] ?? 0;
    this.#isInside = this.#column > 0 || isQuoted || this.#before !== LF;
  }

  endPart(): FoundRows {
    if (this.#headerRead < this.#header.length) this.#tally.problem("the header is not whole");
    else if (this.#isInside) this.#tally.cut();
    return this.#tally.endPart();
  }

  /** Returns the index of the first byte after the header. */
  #readHeader(bytes: Buffer): number {
    const length = Math.min(this.#header.length - this.#headerRead, bytes.length);
    const expected = this.#header.subarray(this.#headerRead, this.#headerRead + length);
    if (!expected.equals(bytes.subarray(0, length)))
      this.#tally.problem("the header does not name the manifest's columns");
    this.#headerRead += length;
    return length;
  }

  #keepId(bytes: Buffer, start: number, end: number): void {
    if (this.#id.length < 100)
      this.#id += bytes.toString("latin1", start, Math.min(end, start + 100));
  }

  #endRow(before: number | undefined): void {
    const columns = this.#column + 1;
    let wrong: string | undefined;
    if (before !== CR) wrong = "does not end with CRLF";
    else if (columns !== this.#columns) wrong = `has ${columns} columns, not ${this.#columns}`;
    this.#tally.row(this.#idColumn < 0 ? undefined : this.#id.trimEnd(), wrong);
    this.#column = 0;
    this.#id = "";
  }
}

const idStart = Buffer.from('{"id":"');
const uuidLength = 36;
const withId = z.object({ id: z.string() });

class JsonRows implements RowReader {
  readonly #hasId: boolean;
  readonly #tally = new Tally();
  #pieces: Buffer[] = [];
  #kept = 0;

  constructor(hasId: boolean) {
    this.#hasId = hasId;
  }

  read(bytes: Buffer): void {
    let start = 0;
    for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
      this.#keep(bytes.subarray(start, end));
      this.#endRow(this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces));
      this.#pieces = [];
      this.#kept = 0;
      start = end + 1;
    }
    // A copy, since the piece may be a small one of a large buffer.
    if (start < bytes.length) this.#keep(Buffer.from(bytes.subarray(start)));
  }

  endPart(): FoundRows {
    if (this.#kept > 0) this.#tally.cut();
    return this.#tally.endPart();
  }

  #keep(bytes: Buffer): void {
    this.#kept += bytes.length;
    if (this.#kept <= MAX_ROW_BYTES) this.#pieces.push(bytes);
  }

  #endRow(line: Buffer | undefined): void {
    const isObject = line?.[0] === BRACE && this.#kept <= MAX_ROW_BYTES;
    const id = isObject && this.#hasId ? idOf(line) : undefined;
    const isWrong = !isObject || (this.#hasId && id === undefined);
    const kind = this.#hasId ? "a JSON object with an id" : "a JSON object";
    this.#tally.row(id, isWrong ? `is not ${kind}` : undefined);
  }
}

function idOf(line: Buffer): string | undefined {
  const from = idStart.length;
  if (line.subarray(0, from).equals(idStart))
    return line.toString("latin1", from, from + uuidLength);
  try {
    return withId.parse(JSON.parse(line.toString("utf8"))).id;
  } catch {
    return undefined;
  }
}
