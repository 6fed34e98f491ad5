import type { ExportFormat } from "../events/export.ts";

const [tab, lineFeed, formFeed, carriageReturn, backspace] = [9, 10, 12, 13, 8];
const [quote, openBracket, backslash, openBrace] = [34, 40, 92, 123];
/** What stands behind a backslash in JSON, and what it means. */
const [n, t, r, b, f, u] = [110, 116, 114, 98, 102, 117];

export type Lines = {
  lines: Uint8Array;
  /** Behind the text's closing quote. */
  end: number;
};

/**
 * The lines of a file, from texts of logs that Postgres has joined (export-row-text.ts) and SQL over HTTP has
 * put into JSON: made in the place where they came in, without a string in between. What comes out is never
 * longer.
 *
 * CSV by RFC 4180: the text form of a row in Postgres (https://www.postgresql.org/docs/current/rowtypes.html#ROWTYPES-IO-SYNTAX)
 * is a record of it, but for the brackets around it and for backslashes, which are doubled. So no row holds a
 * single backslash, and that of a separator is found among any values. Quoted is what holds a quote, a comma,
 * a bracket, a backslash or white space; a quote inside is doubled. Null is an empty field, the empty string `""`.
 *
 * @param bytes that hold it; they are changed
 * @param start behind the opening quote of the text
 */
export function linesIn(format: ExportFormat, bytes: Uint8Array, start: number): Lines {
  const isCsv = format === "csv";
  if (bytes[start] !== (isCsv ? openBracket : openBrace))
    throw new Error("A text of rows begins otherwise.");
  const first = isCsv ? start + 1 : start;
  let to = first;
  let at = first;
  for (;;) {
    const byte = bytes[at++];
    if (byte === quote) break;
    if (byte !== backslash) {
      if (byte === undefined) throw new Error("A text of rows has no end.");
      bytes[to++] = byte;
      continue;
    }
    const escaped = bytes[at++];
    if (escaped === quote) bytes[to++] = quote;
    else if (escaped === backslash && isCsv) {
      if (bytes[at] === backslash && bytes[at + 1] === backslash) {
        bytes[to++] = backslash;
        at += 2;
      } else {
        at = skipSeparator(bytes, at);
        bytes[to - 1] = carriageReturn;
        bytes[to++] = lineFeed;
      }
    } else if (escaped === u) {
      const { length, unit } = characterAt(bytes, at);
      at += length;
      to += encoder.encodeInto(unit, bytes.subarray(to, at)).written;
    } else bytes[to++] = simple(escaped);
  }
  if (isCsv) bytes[to - 1] = carriageReturn;
  bytes[to++] = lineFeed;
  return { lines: bytes.subarray(first, to), end: at };
}

const encoder = new TextEncoder();

/** The end of a separator of CSV rows, of which the backslash was read: a line feed, and the next row's bracket. */
function skipSeparator(bytes: Uint8Array, at: number): number {
  const isIt = bytes[at] === backslash && bytes[at + 1] === n && bytes[at + 2] === openBracket;
  if (!isIt) throw new Error("A text of rows has another separator.");
  return at + 3;
}

/** A character that is given by its number, or by its surrogates'. @param at behind the `u` */
function characterAt(bytes: Uint8Array, at: number): { length: number; unit: string } {
  const high = codeAt(bytes, at);
  const isHigh = high >= 0xd800 && high < 0xdc00;
  return isHigh
    ? { length: 10, unit: String.fromCharCode(high, codeAt(bytes, at + 6)) }
    : { length: 4, unit: String.fromCharCode(high) };
}

function codeAt(bytes: Uint8Array, at: number): number {
  return Number.parseInt(String.fromCharCode(...bytes.subarray(at, at + 4)), 16);
}

function simple(escaped: number | undefined): number {
  if (escaped === n) return lineFeed;
  if (escaped === t) return tab;
  if (escaped === r) return carriageReturn;
  if (escaped === b) return backspace;
  if (escaped === f) return formFeed;
  // A backslash or a slash, which mean themselves.
  return escaped ?? 0;
}
