import fc from "fast-check";
import { expect, test } from "vitest";
import { type Answer, answerJson, type JsonAnswer } from "./neon-answer.ts";

const fields = [{ name: "a" }, { name: 'the "other"' }].map(({ name }, n) => ({
  name,
  tableID: 0,
  columnID: 0,
  dataTypeID: 25 + n,
  dataTypeSize: -1,
  dataTypeModifier: -1,
  format: "text",
}));
const text = fc.oneof(
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.string({ unit: fc.constantFrom('"', "\\", "\n", "\u0001", "\u007F", "é", "😀", "\u2028") }),
);
/** Also long ones, which are written in another way. */
const value = fc.option(
  fc.tuple(text, fc.constantFrom(1, 1, 300, 3_000)).map(([unit, times]) => unit.repeat(times)),
  { nil: null },
);
const answer = fc
  .array(fc.tuple(value, value), { maxLength: 4 })
  .map((rows): Answer => ({ fields, command: "SELECT", rowCount: rows.length, rows }));

/** Gives its buffer back, so that each answer is written over another. */
function parsed({ bytes, release }: JsonAnswer): unknown {
  const text = new TextDecoder().decode(bytes);
  release();
  return JSON.parse(text);
}

test("an answer is read as JSON with every value as it was, however long", () => {
  fc.assert(
    fc.property(fc.array(answer, { maxLength: 3 }), (answers) => {
      const told = answers.map((one) => ({ ...one, rowAsArray: true }));
      expect(parsed(answerJson(answers, true))).toEqual({ results: told });
    }),
    { numRuns: 300 },
  );
});

test("rows are objects by the names of their columns where no arrays are asked for", () => {
  const rows = [
    ["1", null],
    ["2", '"'.repeat(5_000)],
  ];
  expect(parsed(answerJson({ fields, command: "SELECT", rowCount: 2, rows }, false))).toEqual({
    fields,
    command: "SELECT",
    rowCount: 2,
    rowAsArray: false,
    rows: rows.map(([first, second]) => ({ a: first, 'the "other"': second })),
  });
});
