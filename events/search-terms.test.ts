import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { maxSearchLength, maxSearchTerms, parseSearch, type SearchTerm } from "./search-terms.ts";

const term = (
  kind: SearchTerm["kind"],
  text: string,
  words: string[],
  not = false,
): SearchTerm => ({ kind, text, words, not });

describe("a search", () => {
  test.each<[string, SearchTerm[]]>([
    ["login", [term("phrase", "login", ["login"])]],
    ["  two \t words\n", [term("phrase", "two", ["two"]), term("phrase", "words", ["words"])]],
    ['"too many attempts"', [term("phrase", "too many attempts", ["too", "many", "attempts"])]],
    ["-success", [term("phrase", "success", ["success"], true)]],
    ['-"not this"', [term("phrase", "not this", ["not", "this"], true)]],
    ["log*", [term("prefix", "log", ["log"])]],
    ["-log*", [term("prefix", "log", ["log"], true)]],
    ["log**", [term("prefix", "log", ["log"])]],
    ["user.login", [term("phrase", "user.login", ["user", "login"])]],
    ["user.log*", [term("prefix", "user.log", ["user", "log"])]],
    ["user_name", [term("phrase", "user_name", ["user", "name"])]],
    ["nora@example.com", [term("phrase", "nora@example.com", ["nora", "example", "com"])]],
    ['"open end', [term("phrase", "open end", ["open", "end"])]],
    ['"a""b"', [term("phrase", "a", ["a"]), term("phrase", "b", ["b"])]],
    ['"log*"', [term("phrase", "log*", ["log"])]],
    ["a-b", [term("phrase", "a-b", ["a", "b"])]],
    ["--a", [term("phrase", "-a", ["a"], true)]],
    ["a - b *", [term("phrase", "a", ["a"]), term("phrase", "b", ["b"])]],
    [
      "日本 déjà e\u0301",
      [
        term("phrase", "日本", ["日", "本"]),
        term("phrase", "déjà", ["déjà"]),
        term("phrase", "e\u0301", ["e\u0301"]),
      ],
    ],
    [
      "ひらカタ漢字한글abc*",
      [term("prefix", "ひらカタ漢字한글abc", ["ひ", "ら", "カタ", "漢", "字", "한글abc"])],
    ],
    [
      "サーバーabc abcカタ",
      [
        term("phrase", "サーバーabc", ["サーバー", "abc"]),
        term("phrase", "abcカタ", ["abc", "カタ"]),
      ],
    ],
    ["🔥 1", [term("phrase", "🔥", ["🔥"]), term("phrase", "1", ["1"])]],
    ["a\0b", [term("phrase", "a\uFFFDb", ["a", "b"])]],
  ])("for %j", (input, terms) => {
    expect(parseSearch(input)).toEqual(terms);
  });

  test.each(["", "   ", '""', "-", "*", "-*", '-""', "...", '"-"', "\0"])(
    "for %j has no word",
    (input) => {
      expect(parseSearch(input)).toBe("must hold a word to look for");
    },
  );

  test("may be 512 characters and 32 terms long", () => {
    expect(parseSearch("x".repeat(512))).toHaveLength(1);
    expect(parseSearch("x".repeat(513))).toBe("must be at most 512 characters");
    expect(parseSearch("x ".repeat(32))).toHaveLength(32);
    expect(parseSearch("x ".repeat(33))).toBe("must hold at most 32 terms");
  });

  test("of any text never throws, and holds to the limits", () => {
    const piece = fc.constantFrom(
      '"',
      "-",
      "*",
      " ",
      "a",
      ".",
      "😀",
      "\uD800",
      "\0",
      "\n",
      "日",
      "_",
      "\u0301",
    );
    const typed = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.array(piece, { maxLength: 600, size: "max" }).map((all) => all.join("")),
    );
    fc.assert(
      fc.property(typed, (input) => {
        const terms = parseSearch(input);
        if (typeof terms === "string") return;
        expect(input.length).toBeLessThanOrEqual(maxSearchLength);
        expect(terms.length).toBeGreaterThan(0);
        expect(terms.length).toBeLessThanOrEqual(maxSearchTerms);
        for (const { words, text, kind } of terms) {
          expect(words.length).toBeGreaterThan(0);
          expect(
            words.every((word) => word !== "" && text.includes(word) && word.isWellFormed()),
          ).toBe(true);
          expect(kind === "prefix" && text.endsWith("*")).toBe(false);
        }
      }),
      { numRuns: 300 },
    );
  });
});
