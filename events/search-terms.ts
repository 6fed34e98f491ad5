import { cleanText } from "./clean-text.ts";

export const maxSearchLength = 512;
export const maxSearchTerms = 32;

/** One term of a search. Several words in one term stand beside each other, in this order. */
export type SearchTerm = {
  kind: "phrase" | "prefix";
  /** As it was typed, without its operators. */
  text: string;
  /** Its words, as the index has them: parted at everything but letters and digits. */
  words: string[];
  not: boolean;
};

/**
 * What parts words: the analyzer of the index splits at the same places, takes Han and Hiragana sign by sign, and
 * Katakana apart from other letters.
 */
const between = /[^\p{L}\p{N}\p{M}\p{Extended_Pictographic}]+/u;
const word =
  /[\p{sc=Han}\p{sc=Hiragana}]\p{M}*|[\p{sc=Katakana}ー][\p{sc=Katakana}ー\p{M}]*|[^\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}ー]+/gu;
const token = /(-?)(?:"([^"]*)("|$)|(\S+))/g;

/**
 * Reads the search syntax: words, "phrases", -not and prefix*, all of which must hold. Punctuation
 * inside a word makes it a phrase (`user.login`), as the index splits text there.
 *
 * @returns the terms, or a sentence that says what is wrong with them
 */
export function parseSearch(input: string): SearchTerm[] | string {
  if (input.length > maxSearchLength) return `must be at most ${maxSearchLength} characters`;
  const terms: SearchTerm[] = [];
  for (const [, minus, quoted, , bare] of cleanText(input).matchAll(token)) {
    const isPrefix =
      quoted === undefined && bare !== undefined && /[\p{L}\p{N}\p{M}]\*+$/u.test(bare);
    const text = (quoted ?? bare ?? "").replace(isPrefix ? /\*+$/ : /$^/, "");
    const words = text.split(between).flatMap((part) => part.match(word) ?? []);
    if (words.length > 0)
      terms.push({ kind: isPrefix ? "prefix" : "phrase", text, words, not: minus === "-" });
  }
  if (terms.length === 0) return "must hold a word to look for";
  if (terms.length > maxSearchTerms) return `must hold at most ${maxSearchTerms} terms`;
  return terms;
}
