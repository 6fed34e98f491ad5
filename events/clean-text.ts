/** The longest text that a field of free form keeps, in UTF-16 code units, as OpenSearch counts them. */
export const maxTextLength = 2048;

/** NUL, which Postgres refuses, and lone surrogates, which UTF-8 cannot say, become U+FFFD. */
export function cleanText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\uFFFD");
}

/** At most `maxTextLength` of a clean text, never half of a surrogate pair. */
export function cutText(text: string): string {
  if (text.length <= maxTextLength) return text;
  const isHalf = /[\uD800-\uDBFF]/.test(text.charAt(maxTextLength - 1));
  return text.slice(0, isHalf ? maxTextLength - 1 : maxTextLength);
}
