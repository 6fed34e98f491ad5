import { cleanText } from "./clean-text.ts";
import { elements, members, stringAt, type Span } from "./json-text.ts";
import { isCardNumber, type KeyRule, maskPatterns } from "./mask-rules.ts";

const MASK = '"***"';

export type MaskedJson = {
  /** The same value, compact, in the order and with the digits that it had. */
  text: string;
  /** JSON Pointers of what was masked, below `path`. */
  masked: string[];
};

/**
 * Rewrites a JSON text: secrets masked, NUL and lone surrogates replaced, strings in their shortest
 * spelling. The depth of the value must have been checked before.
 *
 * @param path the JSON Pointer of the value itself, such as `/metadata`
 */
export function maskJson(text: string, path: string, rule: KeyRule): MaskedJson {
  const masked: string[] = [];

  function maskedString(raw: string, at: string): string {
    const clean = cleanText(raw);
    const shown = maskPatterns(clean);
    if (shown !== clean) masked.push(at);
    return JSON.stringify(shown);
  }

  function scalar(span: Span, at: string): string {
    if (text[span.start] === '"') return maskedString(stringAt(text, span), at);
    const literal = text.slice(span.start, span.end);
    // A card number that was read as a float is written with a fraction.
    if (!isCardNumber(literal.replace(/\.0+$/, ""))) return literal;
    masked.push(at);
    return MASK;
  }

  function hides(key: string, value: Span): boolean {
    const verdict = rule(key);
    const first = text.charAt(value.start);
    if (verdict === "kept" || first === "n") return false;
    return verdict === "masked" || !/[\d-]/.test(first);
  }

  function rewrite(span: Span, at: string): string {
    const first = text[span.start];
    if (first === "[") {
      return `[${Array.from(elements(text, span.start), (element, n) => rewrite(element, `${at}/${n}`)).join(",")}]`;
    }
    if (first !== "{") return scalar(span, at);
    const parts: string[] = [];
    for (const { key, value } of members(text, span.start)) {
      const name = maskedString(key, at);
      const below = `${at}/${pointerToken(name)}`;
      const hidden = hides(key, value);
      if (hidden) masked.push(below);
      parts.push(`${name}:${hidden ? MASK : rewrite(value, below)}`);
    }
    return `{${parts.join(",")}}`;
  }

  const start = text.search(/\S/);
  return { text: rewrite({ start, end: text.trimEnd().length }, path), masked };
}

/** A key, given as its JSON text, as a token of a JSON Pointer (RFC 6901). */
function pointerToken(quotedKey: string): string {
  return (JSON.parse(quotedKey) as string).replaceAll("~", "~0").replaceAll("/", "~1");
}
