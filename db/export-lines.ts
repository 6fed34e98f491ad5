import { isGuarded, plainStarts } from "../events/formulas.ts";
import type { BufferPool } from "../platform/buffer-pool.ts";
import { type FieldBytes, fieldBytes } from "./export-field-bytes.ts";
import type { Marks, RowForm } from "./export-row-text.ts";
import { asItIs, type Escaping, inCsv, inJsonString, numbered, stringEnd } from "./json-escapes.ts";
import { millisecondsIn, TimeWriter } from "./time-writer.ts";

const [quote, comma, apostrophe, space] = [34, 44, 39, 32];
const [lineFeed, carriageReturn, openBrace, closeBrace] = [10, 13, 123, 125];

/** What a byte of a value is to the loop that sees all of them; 0 for nearly all. */
const [quoted, escaped, separating, ending] = [1, 2, 3, 4];
const classes = new Uint8Array(256);
/** NUL is in no JSON: it stands for what is behind the last byte. */
for (const [character, byteClass] of [
  [",", quoted],
  ["\\", escaped],
  ["\u007F", separating],
  ['"', ending],
  ["\0", ending],
] as const)
  classes[character.charCodeAt(0)] = byteClass;

export type Lines = {
  rows: number;
  /** Values that were not there. */
  nulls: number;
  firstId: string;
  lastId: string;
  /** Where its lines are, for `bytesOf`. */
  from: number;
  to: number;
  /** Behind the text's closing quote. */
  end: number;
};

/** A value has what stands between values, so that they cannot be told apart. */
class Misread extends Error {}

const idLength = 36;
/** What a value may take in a line beyond the bytes that it came in, without its key: most for a time. */
const moreOfValue = 32;
/** Room for what lines have more than their texts. */
const slack = 256 * 1024;
const encoder = new TextEncoder();
/** A value may begin with what else is taken for a byte order mark. */
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const nullBytes = encoder.encode("null");

/**
 * Makes the lines of a file from texts of logs that Postgres has joined (export-row-text.ts) and SQL over HTTP
 * has put into JSON: byte by byte, without a string in between.
 *
 * CSV by RFC 4180: quoted is what has a comma, a quote or a control character, begins or ends with a space, is
 * empty, or is JSON. Null is an empty field. What a spreadsheet would run gets an apostrophe. JSON Lines are
 * what the API answers: null for what a log does not have, but for the two lists, which are left out then.
 */
export class LineMaker {
  private readonly fields: FieldBytes[];
  /** The first that is wanted: 1 where the id is not. */
  private readonly first: number;
  private readonly isCsv: boolean;
  private readonly separator: Uint8Array;
  private readonly moreOfRow: number;
  private readonly times = new TimeWriter();
  private readonly pool: BufferPool;
  private bytes = new Uint8Array(0);
  private at = 0;
  private out = new Uint8Array(0);
  private to = 0;
  private nulls = 0;

  /** @param pool where it takes its buffer from, if one is there */
  constructor({ format, columns }: RowForm, marks: Marks, pool: BufferPool) {
    this.isCsv = format === "csv";
    this.first = columns[0] === "id" ? 0 : 1;
    this.separator = encoder.encode(marks.separator);
    this.pool = pool;
    this.fields = fieldBytes(columns, marks);
    this.moreOfRow = this.fields.reduce((sum, { key }) => sum + key.length + moreOfValue, 0);
  }

  /**
   * The lines of a text; undefined where a value has what stands between values.
   *
   * @param bytes that hold it
   * @param start behind its opening quote
   */
  take(bytes: Uint8Array<ArrayBuffer>, start: number): Lines | { end: number } {
    this.bytes = bytes;
    this.at = start;
    this.nulls = 0;
    const from = this.to;
    let rows = 0;
    let row = start;
    try {
      do {
        row = this.at;
        this.makeRoom();
        this.line();
        rows++;
      } while (this.skipSeparator());
      if (bytes[this.at] !== quote) throw new Misread();
    } catch (error) {
      if (!(error instanceof Misread)) throw error;
      return { end: stringEnd(bytes, start) };
    }
    const idAt = (at: number) => decoder.decode(bytes.subarray(at, at + idLength));
    const { nulls, to, at } = this;
    return { rows, nulls, firstId: idAt(start), lastId: idAt(row), from, to, end: at + 1 };
  }

  bytesOf({ from, to }: Lines): Uint8Array {
    return this.out.subarray(from, to);
  }

  /** Gives its buffer back. What `bytesOf` gave must not be used any more. */
  release(): void {
    if (this.out.length > 0) this.pool.give(this.out);
    this.out = new Uint8Array(0);
  }

  /** For all that is left of the bytes, and for what the next line has more. */
  private makeRoom(): void {
    const length = this.to + this.bytes.length - this.at + this.moreOfRow;
    if (length <= this.out.length) return;
    const larger = this.pool.take(length + slack) ?? new Uint8Array(length + slack);
    larger.set(this.out.subarray(0, this.to));
    this.release();
    this.out = larger;
  }

  private line(): void {
    const { fields, first, isCsv } = this;
    if (first > 0) this.at += idLength;
    if (!isCsv) this.out[this.to++] = openBrace;
    const begin = this.to;
    for (let n = first; n < fields.length; n++) {
      if (n > 0 && !this.skipSeparator()) throw new Misread();
      const field = fields[n];
      if (!field) continue;
      const isNothing = this.skipNothing(field);
      if (isNothing && field.isLeftOut && !isCsv) continue;
      if (isCsv ? n > first : this.to > begin) this.out[this.to++] = comma;
      if (isCsv) {
        if (!isNothing) this.csvField(field);
      } else this.member(field, isNothing);
    }
    this.out[this.to++] = isCsv ? carriageReturn : closeBrace;
    this.out[this.to++] = lineFeed;
  }

  private csvField({ kind }: FieldBytes): void {
    const { out } = this;
    if (kind === "time") return this.time();
    const start = this.to;
    if (kind === "json") {
      out[this.to++] = quote;
      this.value(inCsv);
      out[this.to++] = quote;
      return;
    }
    // What is guarded is seldom: it has to become a string.
    if (plainStarts[this.bytes[this.at] ?? 0] === 0 && isGuarded(this.peek()))
      out[this.to++] = apostrophe;
    const isQuoted = this.value(inCsv);
    if (!isQuoted && out[start] !== space && out[this.to - 1] !== space && this.to > start) return;
    out.copyWithin(start + 1, start, this.to);
    out[start] = quote;
    this.to += 2;
    out[this.to - 1] = quote;
  }

  private member({ kind, key }: FieldBytes, isNothing: boolean): void {
    this.write(key);
    if (isNothing) return this.write(nullBytes);
    if (kind === "json") {
      this.value(asItIs);
      return;
    }
    this.out[this.to++] = quote;
    if (kind === "time") this.time();
    else this.value(inJsonString);
    this.out[this.to++] = quote;
  }

  private write(bytes: Uint8Array): void {
    this.out.set(bytes, this.to);
    this.to += bytes.length;
  }

  private time(): void {
    const { bytes } = this;
    const from = this.at;
    let end = from;
    while (classes[bytes[end] ?? 0] === 0) end++;
    const ms = millisecondsIn(bytes, from, end);
    if (ms === undefined) throw new Misread();
    this.to = this.times.write(ms, this.out, this.to);
    this.at = end;
  }

  /**
   * Copies a value, up to what ends it.
   *
   * @returns whether CSV has to quote it
   */
  private value(way: Escaping): boolean {
    const { bytes, out } = this;
    let { at, to } = this;
    let isQuoted = false;
    for (;;) {
      let byte = bytes[at] ?? 0;
      while (classes[byte] === 0) {
        out[to++] = byte;
        byte = bytes[++at] ?? 0;
      }
      const byteClass = classes[byte];
      if (byteClass === escaped) {
        isQuoted = true;
        const letter = bytes[at + 1] ?? 0;
        const written = way.letters[letter] ?? 0;
        if (written === 0) {
          to += this.numbered(at, to, way);
          at = this.at;
          continue;
        }
        const before = way.before[letter] ?? 0;
        if (before !== 0) out[to++] = before;
        out[to++] = written;
        at += 2;
      } else if (byteClass === quoted || (byteClass === separating && !this.isSeparator(at))) {
        isQuoted = true;
        out[to++] = byte;
        at++;
      } else break;
    }
    this.at = at;
    this.to = to;
    return isQuoted;
  }

  /** Copies a character that JSON gives by its number. @returns how many bytes it takes */
  private numbered(at: number, to: number, way: Escaping): number {
    const { length, character } = numbered(this.bytes, at);
    this.at = at + length;
    return encoder.encodeInto(way.escape(character), this.out.subarray(to)).written;
  }

  /** What is to be read next, as a string. */
  private peek(): string {
    const { bytes, at } = this;
    let end = at;
    while (classes[bytes[end] ?? 0] !== ending && !this.isSeparator(end))
      end += classes[bytes[end] ?? 0] === escaped ? 2 : 1;
    return String(JSON.parse(`"${decoder.decode(bytes.subarray(at, end))}"`));
  }

  private isSeparator(at: number): boolean {
    return isAt(this.bytes, at, this.separator);
  }

  private skipSeparator(): boolean {
    if (!this.isSeparator(this.at)) return false;
    this.at += this.separator.length;
    return true;
  }

  /** Skips what stands in the place of a value that is not there. */
  private skipNothing({ isNullable, nothing }: FieldBytes): boolean {
    const { bytes, at } = this;
    if (!isNullable || !isAt(bytes, at, nothing)) return false;
    const end = at + nothing.length;
    if (classes[bytes[end] ?? 0] !== ending && !this.isSeparator(end)) return false;
    this.at = end;
    this.nulls++;
    return true;
  }
}

function isAt(bytes: Uint8Array, at: number, wanted: Uint8Array): boolean {
  for (let n = 0; n < wanted.length; n++) if (bytes[at + n] !== wanted[n]) return false;
  return true;
}
