import fc from "fast-check";
import { expect, test } from "vitest";
import { AnswerJson } from "./neon-answer.ts";

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
const rows = fc.array(fc.tuple(value, value), { maxLength: 4 });

/** Gives its buffer back, so that each answer is written over another. */
function parsed(all: readonly (string | null)[][], asArrays: boolean): unknown {
  const json = new AnswerJson(asArrays);
  for (const row of all) json.addRow(row, fields);
  const whole = json.end({ fields, command: "SELECT", rowCount: all.length });
  const told = new TextDecoder().decode(whole);
  json.release();
  return JSON.parse(told);
}

test("an answer is read as JSON with every value as it was, however long", () => {
  fc.assert(
    fc.property(rows, (all) => {
      const about = { fields, command: "SELECT", rowCount: all.length, rowAsArray: true };
      expect(parsed(all, true)).toEqual({ ...about, rows: all });
    }),
    { numRuns: 500 },
  );
});

test("rows are objects by the names of their columns where no arrays are asked for", () => {
  const all = [
    ["1", null],
    ["2", '"'.repeat(5_000)],
  ];
  expect(parsed(all, false)).toEqual({
    fields,
    command: "SELECT",
    rowCount: 2,
    rowAsArray: false,
    rows: all.map(([first, second]) => ({ a: first, 'the "other"': second })),
  });
});
