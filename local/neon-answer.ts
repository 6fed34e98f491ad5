import type { FieldDef } from "pg";

/** What a statement gave, as SQL over HTTP tells it. */
export type Answer = {
  fields: FieldDef[];
  command: string;
  rowCount: number | null;
  rows: (string | null)[][];
};

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
let [plain, escaped] = [new Uint8Array(0), new Uint8Array(0)];

/** A text as JSON. Postgres gives no lone surrogates, which JSON would have to escape. */
function longJson(text: string): Buffer {
  // A UTF-16 unit becomes three bytes at most, and a byte six.
  if (plain.length < text.length * 3) {
    plain = new Uint8Array(text.length * 3);
    escaped = new Uint8Array(plain.length * 6 + 2);
  }
  const { written } = encoder.encodeInto(text, plain);
  const [from, to] = [plain, escaped];
  let at = 0;
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
  return Buffer.from(to.subarray(0, at));
}

/** JSON that grows: short texts in one, and long ones by their bytes. */
class JsonBytes {
  readonly chunks: Buffer[] = [];
  #text = "";

  add(json: string): void {
    this.#text += json;
  }

  addValue(value: string | null | undefined): void {
    if (value == null || value.length < longText) this.add(JSON.stringify(value ?? null));
    else this.chunks.push(this.#taken(), longJson(value));
  }

  end(): Buffer[] {
    this.chunks.push(this.#taken());
    return this.chunks;
  }

  #taken(): Buffer {
    const taken = Buffer.from(this.#text);
    this.#text = "";
    return taken;
  }
}

function addAnswer(to: JsonBytes, { rows, ...about }: Answer, asArrays: boolean): void {
  const names = about.fields.map(({ name }) => JSON.stringify(name));
  const [open, close] = asArrays ? ["[", "]"] : ["{", "}"];
  to.add(`${JSON.stringify({ ...about, rowAsArray: asArrays }).slice(0, -1)},"rows":[`);
  for (const [n, row] of rows.entries()) {
    to.add(n === 0 ? open : `,${open}`);
    for (const [column, value] of row.entries()) {
      if (column > 0) to.add(",");
      if (!asArrays) to.add(`${names[column]}:`);
      to.addValue(value);
    }
    to.add(close);
  }
  to.add("]}");
}

/**
 * The answer to one statement, or to a batch of them, as JSON in UTF-8.
 *
 * @param asArrays rows as arrays, else as objects by the names of their columns
 */
export function answerJson(answers: Answer | readonly Answer[], asArrays: boolean): Buffer[] {
  const json = new JsonBytes();
  if ("rows" in answers) addAnswer(json, answers, asArrays);
  else {
    json.add('{"results":[');
    for (const [n, answer] of answers.entries()) {
      if (n > 0) json.add(",");
      addAnswer(json, answer, asArrays);
    }
    json.add("]}");
  }
  return json.end();
}
