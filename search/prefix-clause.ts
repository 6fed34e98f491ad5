import type { SearchTerm } from "../events/search-terms.ts";
import { NotForIndex } from "./not-for-index.ts";

/** The analyzer cuts a longer word into pieces. */
const maxWordLength = 255;

/**
 * ASCII, and the letters of Latin, Greek, Cyrillic, Hebrew, Arabic, Japanese, Chinese and Korean: of these the
 * words of a term are exactly those of the index. Elsewhere its tokenizer has rules of its own, such as for a
 * zero-width joiner.
 */
export const knownSigns =
  /^[\x21-\x7E\u00C0-\u024F\u0370-\u0482\u048A-\u052F\u05D0-\u05EA\u0620-\u063F\u0641-\u064A\u1E00-\u1FFF\u3041-\u3096\u30A1-\u30FA\u30FC\u3400-\u4DB5\u4E00-\u9FEF\uAC00-\uD7A3]*$/;

/**
 * What a prefix finds, never with a part of it left out: a `match_phrase_prefix` would take the first so many words
 * of the shard that begin so, and with them those of other tenants.
 *
 * @throws NotForIndex where the index might leave out some
 */
export function prefixClause({ text, words }: SearchTerm): Record<string, unknown> {
  const last = words.at(-1) ?? "";
  // This takes all words that begin so, but only one word.
  if (words.length === 1) return { match_bool_prefix: { text: { query: last, operator: "and" } } };
  if (!knownSigns.test(text) || last.length > maxWordLength) throw new NotForIndex();
  const before = { query: words.slice(0, -1).join(" "), mode: "ordered", max_gaps: 0 };
  // Up to the length that the mapping has prefixes of, this is one word to look up. Of a longer one it takes 128
  // words that begin so, and is an error where there are more.
  const intervals = [{ match: before }, { prefix: { prefix: last } }];
  return { intervals: { text: { all_of: { mode: "ordered", max_gaps: 0, intervals } } } };
}
