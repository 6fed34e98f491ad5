import fc from "fast-check";

const numbers = [
  "0",
  "-0",
  "1.10",
  "1e400",
  "-1E-7",
  "9007199254740993",
  "0.30000000000000004",
  "12345678901234567890123",
];
/** One character each, as JSON may spell it. No masked key can be made of them. */
const escapes = String.raw`\u0061 \u00e9 \/ \" \\ \n \t \u0000 \uD83D\uDE00 \ud800 \uDC00 \u2028`;
const characters = [..."abde .-_~/{}[]:,é日😀", ...escapes.split(" ")];
const keys = ['"10"', '"2"', '"a"', '"\\u0061"', '"__proto__"', '"constructor"', '""', '"a.b"'];

const quoted = fc
  .array(fc.constantFrom(...characters), { maxLength: 8 })
  .map((spelled) => `"${spelled.join("")}"`);
const scalar = fc.oneof(
  quoted,
  fc.constantFrom("true", "false", "null", ...numbers),
  fc.integer().map(String),
);
const key = fc.oneof(fc.constantFrom(...keys), quoted);
const space = fc.constantFrom("", "", " ", "\n\t", "\r\n  ");

/** A text's parts with white space between them. */
const spaced = (parts: readonly string[]) =>
  fc
    .array(space, { minLength: parts.length + 1, maxLength: parts.length + 1 })
    .map((spaces) =>
      parts.reduce((text, part, n) => `${text}${part}${spaces[n + 1]}`, spaces[0] ?? ""),
    );

const texts = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    scalar,
    tie("array"),
    tie("object"),
  ),
  array: fc.array(tie("value"), { maxLength: 4 }).chain((all) => spaced(["[", all.join(","), "]"])),
  object: fc
    .array(
      fc.tuple(key, tie("value")).chain(([name, value]) => spaced([name, ":", value])),
      { maxLength: 5 },
    )
    .chain((all) => spaced(["{", all.join(","), "}"])),
}));

/**
 * Texts of JSON objects as callers may send them, with all that a JavaScript object would change:
 * integer-like keys, keys that stand twice, `__proto__`, long numbers, escapes, lone surrogates.
 */
export const objectText = texts.object;

/** The tokens of a JSON text, as they are written, without the white space. */
export function tokensOf(text: string): string[] {
  return text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g) ?? [];
}
