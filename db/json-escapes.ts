const [quote, backslash, slash, letterU] = [34, 92, 47, 117];

/** How characters that JSON has escaped are written. */
export type Escaping = {
  /** By the letter behind the backslash, what is written in place of the two; 0 for what is no such letter. */
  letters: Uint8Array;
  /** What stands before that, if anything. */
  before: Uint8Array;
  /** Those that JSON gives by their number. */
  escape: (character: string) => string;
};

const meanings = ['""', "\\\\", "//", "b\b", "f\f", "n\n", "r\r", "t\t"].map(
  (pair) => [pair.charCodeAt(0), pair.charCodeAt(1)] as const,
);

function escaping(
  escape: Escaping["escape"],
  write: (letter: number, meaning: number) => [number] | [number, number],
): Escaping {
  const [letters, before] = [new Uint8Array(256), new Uint8Array(256)];
  for (const [letter, meaning] of meanings) {
    const [first, second] = write(letter, meaning);
    letters[letter] = second ?? first;
    if (second !== undefined) before[letter] = first;
  }
  return { letters, before, escape };
}

/** As the characters that they are. */
export const asItIs = escaping(
  (character) => character,
  (_letter, meaning) => [meaning],
);

/** In a quoted field of CSV, where a quote is doubled. */
export const inCsv = escaping(
  (character) => character.replace('"', '""'),
  (_letter, meaning) => (meaning === quote ? [quote, quote] : [meaning]),
);

/** In a string of JSON, as JSON.stringify does, whoever has escaped them before. */
export const inJsonString = escaping(
  (character) => JSON.stringify(character).slice(1, -1),
  (letter) => (letter === slash ? [slash] : [backslash, letter]),
);

/** A character that JSON gives by its number, or by its surrogates'. @param at that of its backslash */
export function numbered(bytes: Uint8Array, at: number): { length: number; character: string } {
  const high = unitAt(bytes, at);
  const isPair = high >= 0xd800 && high < 0xdc00;
  return isPair
    ? { length: 12, character: String.fromCharCode(high, unitAt(bytes, at + 6)) }
    : { length: 6, character: String.fromCharCode(high) };
}

function unitAt(bytes: Uint8Array, at: number): number {
  const digits = String.fromCharCode(...bytes.subarray(at + 2, at + 6));
  if (bytes[at + 1] !== letterU || !/^[\da-f]{4}$/i.test(digits))
    throw new Error("A text has an escape that JSON does not know.");
  return Number.parseInt(digits, 16);
}

/** Where a JSON string ends: behind its closing quote. @param at anywhere in it, but not within an escape */
export function stringEnd(bytes: Uint8Array, at: number): number {
  for (let next = at; next < bytes.length; next++) {
    if (bytes[next] === backslash) next++;
    else if (bytes[next] === quote) return next + 1;
  }
  throw new Error("A text has no end.");
}
