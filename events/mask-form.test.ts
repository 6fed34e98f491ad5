import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findForm, type Form, maxFormLength, parseForm, type Units } from "./mask-form.ts";

function formOf(text: string): Form {
  const form = parseForm(text);
  if (typeof form === "string") throw new Error(form);
  return form;
}
const foundIn = (form: string, text: string) =>
  findForm(formOf(form), text).map(({ start, end }) => text.slice(start, end));

describe("a form", () => {
  test.each([
    ["EMP-####", "EMP-1234 and emp-0001, (Emp-9999)", ["EMP-1234", "emp-0001", "Emp-9999"]],
    ["EMP-####", "TEMP-1234 EMP-12345 EMP-123 EMP-123a EMP1234 EMP-١٢٣٤", []],
    ["EMP-####", "xEMP-EMP-1234", ["EMP-1234"]],
    ["usr_*", "by usr_a9Z, usr_, usr_é and usr_b-c", ["usr_a9Z", "usr_é", "usr_b"]],
    [
      "*.corp.example",
      "on db1.corp.example and a.b.corp.example.",
      ["db1.corp.example", "b.corp.example"],
    ],
    ["*@corp.example", "mail nora@CORP.example!", ["nora@CORP.example"]],
    ["##-##-??", "12-34-5x 12-34-é9 12-34-5", ["12-34-5x", "12-34-é9"]],
    [String.raw`\#\?\*\\`, String.raw`a #?*\ b`, [String.raw`#?*\ `.trim()]],
    ["Project Phoenix", "the PROJECT phoenix, Project Phoenixes", ["PROJECT phoenix"]],
    ["(#)", "f(1)(2)", ["(1)", "(2)"]],
    ["größe ##", "GRÖSSE 12 GRÖßE 12", ["GRÖßE 12"]],
    ["🔥##", "a🔥12 🔥34", ["🔥34"]],
    ["###", "𝟙23 123 12é3 1234", ["123"]],
    ["a-*-#", "a-bc-1-a-2-3", ["a-bc-1", "a-2-3"]],
  ])("%j finds in %j what it describes", (form, text, expected) => {
    expect(foundIn(form, text)).toEqual(expected);
  });

  test.each([
    ["", "must have at least 3 characters besides *"],
    ["ab", "must have at least 3 characters besides *"],
    ["*", "must have at least 3 characters besides *"],
    ["*-*-*", "must have at least 3 characters besides *"],
    ["abc\\", "must not end in \\"],
    ...["*abc", "ab-*c", "ab-**", "ab-*#", "ab-*?", "ab-*é", "--- *9"].map((form) => [
      form,
      "must have neither a letter, a digit nor one of # ? * behind a *",
    ]),
  ])("%j is none", (form = "", message = "") => {
    expect(parseForm(form)).toBe(message);
  });

  const part = fc.constantFrom("#", "?", "*", "a", "1", "-", "_", "é", "\\*", "\\#", "🔥", " ");
  const form = fc
    .array(part, { minLength: 3, maxLength: 12 })
    .map((parts) => parts.join(""))
    .filter((text) => typeof parseForm(text) !== "string");
  const text = fc
    .array(fc.constantFrom("a", "A", "1", "22", "-", "_", "é", "É", "🔥", "*", "#", " ", "aa11"), {
      maxLength: 40,
    })
    .map((parts) => parts.join(""));

  test("finds what a regular expression would, from left to right", () => {
    fc.assert(
      fc.property(form, text, (form, text) => {
        expect(foundIn(form, text)).toEqual(byRegularExpression(form, text));
      }),
      { numRuns: 2_000 },
    );
  });

  test("finds every text that it describes, between spaces", () => {
    const described = form.map((form) => ({
      form,
      text: form.replaceAll(
        /\\(.)|[#?*]/g,
        (sign, same: string | undefined) =>
          same ?? (sign === "#" ? "7" : sign === "?" ? "é" : "b2B"),
      ),
    }));
    fc.assert(
      fc.property(described, ({ form, text }) => {
        expect(foundIn(form, `  ${text}  `).join("")).toContain(text.trim());
      }),
    );
  });

  test("reads a text in steps that grow with its length only, however it is made", () => {
    const long = fc
      .array(fc.constantFrom("a", "1", "-", "_", "é", " "), { minLength: 1, maxLength: 6 })
      .map((parts) => parts.join("").repeat(500));
    const longForm = fc
      .array(part, { minLength: 3, maxLength: maxFormLength })
      .map((parts) => parts.join(""))
      .filter((text) => typeof parseForm(text) !== "string");
    fc.assert(
      fc.property(fc.oneof(form, longForm), long, (form, text) => {
        expect(readsOf(form, text)).toBeLessThanOrEqual((form.length + 3) * (text.length + 1));
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    ["-*-*-*-*-*-*-*-*-#", "-a"],
    ["*-*-*-*-*-*-*-*-###", "a-"],
    ["*_###", "a"],
    ["---*", "-"],
    ["a".repeat(100), "a"],
    [`${"?".repeat(99)}#`, "a"],
    [`${"*_".repeat(49)}__`, "a_"],
  ])("%j reads 64 KiB of %j without steps back", (form, part) => {
    const length = 64 * 1024;
    const text = part.repeat(length / part.length);
    const once = readsOf(form, text.slice(0, length / 2));
    const twice = readsOf(form, text);
    expect(twice).toBeLessThanOrEqual((form.length + 3) * (length + 1));
    expect(twice).toBeLessThanOrEqual(2 * once + form.length ** 2 + 10);
  });
});

/** How often a form reads a character of a text. */
function readsOf(form: string, text: string): number {
  let reads = 0;
  const counted: Units = {
    length: text.length,
    charCodeAt(at) {
      reads++;
      return text.charCodeAt(at);
    },
  };
  findForm(formOf(form), counted);
  return reads;
}

/** The same, by other means: as a regular expression over the text. */
function byRegularExpression(form: string, text: string): string[] {
  const word = String.raw`[\p{L}\p{N}\p{M}\u{10000}-\u{10FFFF}]`;
  const letter = String.raw`(?![\u{10000}-\u{10FFFF}])[\p{L}\p{N}\p{M}]`;
  const isWord = (sign: string | undefined) =>
    sign !== undefined && (/^[#?*]$/.test(sign) || new RegExp(`^${word}$`, "u").test(sign));
  const parts = form.match(/\\.|./gsu) ?? [];
  const source = parts.map((sign) => {
    if (sign === "#") return "[0-9]";
    if (sign === "?") return letter;
    if (sign === "*") return `${word}+(?!${word})`;
    const same = sign.length > 1 && sign.startsWith("\\") ? sign.slice(1) : sign;
    return `\\u{${same.codePointAt(0)?.toString(16)}}`;
  });
  const before = isWord(parts[0]) ? `(?<!${word})` : "";
  const after = isWord(parts.at(-1)) ? `(?!${word})` : "";
  return text.match(new RegExp(before + source.join("") + after, "giu")) ?? [];
}
