import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { cleanText, cutText, maxTextLength } from "./clean-text.ts";

const anyText = fc.string({ unit: "binary" });
const anyUnits = fc
  .array(fc.integer({ min: 0, max: 0xff_ff }))
  .map((units) => String.fromCharCode(...units));

describe("cleanText", () => {
  test("puts U+FFFD in the place of NUL and of lone surrogates", () => {
    expect(cleanText("a\0b\uD800c\uDC00d")).toBe("a\uFFFDb\uFFFDc\uFFFDd");
  });

  test("leaves any other text as it is", () => {
    const odd = "😀 é e\u0301 \u202E\u200B\u0001\u007F\uFEFF\uFFFF\r\n'\"\\";
    expect(cleanText(odd)).toBe(odd);
  });

  test("makes of every text one that Postgres and UTF-8 can say, of the same length", () => {
    fc.assert(
      fc.property(anyUnits, (text) => {
        const clean = cleanText(text);
        expect(clean.isWellFormed() && !clean.includes("\0")).toBe(true);
        expect(clean).toHaveLength(text.length);
        expect(cleanText(clean)).toBe(clean);
      }),
    );
  });
});

describe("cutText", () => {
  test("keeps 2,048 characters", () => {
    expect(cutText("x".repeat(2048))).toHaveLength(2048);
    expect(cutText(`${"x".repeat(2048)}y`)).toBe("x".repeat(2048));
  });

  test("drops a surrogate pair whole that would be cut in two", () => {
    expect(cutText(`${"x".repeat(2047)}😀`)).toBe("x".repeat(2047));
    expect(cutText(`${"x".repeat(2046)}😀y`)).toBe(`${"x".repeat(2046)}😀`);
  });

  test("gives of every text a beginning that is no longer than allowed, and well formed", () => {
    fc.assert(
      fc.property(fc.integer({ min: 2030, max: 2050 }), anyText, (length, end) => {
        const text = cleanText("x".repeat(length) + end);
        const cut = cutText(text);
        expect(text.startsWith(cut) && cut.isWellFormed()).toBe(true);
        expect(cut.length).toBeLessThanOrEqual(maxTextLength);
        expect(cut.length).toBeGreaterThanOrEqual(Math.min(text.length, maxTextLength - 1));
      }),
    );
  });
});
