import fc from "fast-check";
import { expect, test } from "vitest";
import { millisecondsIn, TimeWriter } from "./time-writer.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** As Postgres writes a double. */
const seconds = (ms: number) => String(ms / 1000);

const anyTime = fc.oneof(
  fc.integer({ min: Date.parse("1000-01-01"), max: Date.parse("9999-12-31T23:59:59.999Z") }),
  fc.integer({ min: -2_000, max: 2_000 }).map((ms) => ms + 1_764_000_000_000),
  fc.integer({ min: -2_000, max: 2_000 }),
);

test("times are written as Date does, whichever were written before", () => {
  fc.assert(
    fc.property(fc.array(anyTime, { minLength: 1, maxLength: 20 }), (times) => {
      const writer = new TimeWriter();
      for (const ms of times) {
        const text = bytesOf(`x${seconds(ms)},`);
        expect(millisecondsIn(text, 1, text.length - 1)).toBe(ms);
        const out = new Uint8Array(40);
        const end = writer.write(ms, out, 3);
        expect(new TextDecoder().decode(out.subarray(3, end))).toBe(new Date(ms).toISOString());
      }
    }),
  );
});

test("what is finer than a millisecond is left out", () => {
  expect(millisecondsIn(bytesOf("1764000000.123999"), 0, 17)).toBe(1_764_000_000_123);
});

test.each(["", "-", "1e+15", "1.2.3", "12:30", "NaN", "Infinity"])("%j is no time", (text) => {
  expect(millisecondsIn(bytesOf(text), 0, text.length)).toBeUndefined();
});
