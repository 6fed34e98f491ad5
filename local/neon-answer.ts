import type { FieldDef } from "pg";
import { BufferPool } from "../platform/buffer-pool.ts";

/** What SQL over HTTP tells of a statement besides its rows. */
export type About = { fields: FieldDef[]; command: string; rowCount: number | null };

/** A longer value is written by its bytes: there JSON.stringify takes several times as long. */
const longText = 1024;

/** What JSON writes behind a backslash for a byte: 0 where it stays, as those of UTF-8 beyond ASCII do. */
const escapes = new Uint8Array(256);
/** By its number, as every control character that has no letter. */
const byNumber = "u".charCodeAt(0);
escapes.fill(byNumber, 0, 0x20);
for (const [character, letter] of ['""', "\\\\", "\bb", "\ff", "\nn", "\rr", "\tt"])
  escapes[codeOf(character)] = codeOf(letter);

function codeOf(character = ""): number {
  return character.charCodeAt(0);
}

const quote = codeOf('"');
const backslash = codeOf("\\");
const encoder = new TextEncoder();
/** Where a long value is in UTF-8 while it is written. */
let plain = new Uint8Array(0);
/** A UTF-16 unit becomes at most so many bytes of UTF-8, and each of those at most so many of JSON. */
const [mostOfUnit, mostOfByte] = [3, 6];
const buffers = new BufferPool(16 * 1024 * 1024);
const firstLength = 64 * 1024;

/**
 * The answer to one statement, as JSON in UTF-8, made while its rows come: so none of their values is kept as a
 * string. It grows in a buffer that is used again.
 */
export class AnswerJson {
  #bytes = buffers.take(firstLength) ?? new Uint8Array(firstLength);
  #length = 0;
  #rows = 0;
  readonly #asArrays: boolean;

  /** @param asArrays rows as arrays, else as objects by the names of their columns */
  constructor(asArrays: boolean) {
    this.#asArrays = asArrays;
    this.#add('{"rows":[');
  }

  addRow(row: readonly (string | null)[], fields: readonly Pick<FieldDef, "name">[]): void {
    const [open, close] = this.#asArrays ? ["[", "]"] : ["{", "}"];
    this.#add(this.#rows++ === 0 ? open : `,${open}`);
    for (const [column, value] of row.entries()) {
      if (column > 0) this.#add(",");
      if (!this.#asArrays) this.#add(`${JSON.stringify(fields[column]?.name)}:`);
      if (value === null || value.length < longText) this.#add(JSON.stringify(value));
      else this.#addLong(value);
    }
    this.#add(close);
  }

  /** @returns the whole of it, to be used until `release` */
  end(about: About): Uint8Array {
    this.#add(`],${JSON.stringify({ ...about, rowAsArray: this.#asArrays }).slice(1)}`);
    return this.#bytes.subarray(0, this.#length);
  }

  /** Gives its buffer back: a later answer takes its place. */
  release(): void {
    buffers.give(this.#bytes);
    this.#bytes = new Uint8Array(0);
  }

  #add(json: string): void {
    this.#makeRoom(json.length * mostOfUnit);
    this.#length += encoder.encodeInto(json, this.#bytes.subarray(this.#length)).written;
  }

  /** Postgres gives no lone surrogates, which JSON would have to escape. */
  #addLong(text: string): void {
    if (plain.length < text.length * mostOfUnit) plain = new Uint8Array(text.length * mostOfUnit);
    const { written } = encoder.encodeInto(text, plain);
    this.#makeRoom(written * mostOfByte + 2);
    const [from, to] = [plain, this.#bytes];
    let at = this.#length;
    to[at++] = quote;
    for (let i = 0; i < written; i++) {
      const byte = from[i] ?? 0;
      const letter = escapes[byte] ?? 0;
      if (letter === 0) to[at++] = byte;
      else {
        to[at++] = backslash;
        to[at++] = letter;
        if (letter === byNumber) {
          encoder.encodeInto(byte.toString(16).padStart(4, "0"), to.subarray(at));
          at += 4;
        }
      }
    }
    to[at++] = quote;
    this.#length = at;
  }

  #makeRoom(more: number): void {
    const length = this.#length + more;
    if (length <= this.#bytes.length) return;
    const larger = buffers.take(length) ?? new Uint8Array(Math.max(length, this.#bytes.length * 2));
    larger.set(this.#bytes.subarray(0, this.#length));
    buffers.give(this.#bytes);
    this.#bytes = larger;
  }
}
