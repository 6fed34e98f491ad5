import { cleanText } from "./clean-text.ts";
import { elements, members, stringAt, type Span } from "./json-text.ts";
import { type How, isCardNumber } from "./mask-rules.ts";
import type { TenantMask } from "./tenant-mask.ts";

const MASK = '"***"';

export type MaskedJson = {
  /** The same value, compact, in the order and with the digits that it had. */
  text: string;
  /** JSON Pointers of what was masked, below `path`. */
  masked: string[];
};

type Mask = Pick<TenantMask, "keyRule" | "maskText" | "maskOwn" | "hide">;

/**
 * Rewrites a JSON text: secrets masked, NUL and lone surrogates replaced, strings in their shortest
 * spelling. The depth of the value must have been checked before.
 *
 * @param path the JSON Pointer of the value itself, such as `/metadata`
 */
export function maskJson(text: string, path: string, mask: Mask): MaskedJson {
  const masked: string[] = [];

  function maskedString(raw: string, at: string): string {
    const clean = cleanText(raw);
    const shown = mask.maskText(clean);
    if (shown !== clean) masked.push(at);
    return JSON.stringify(shown);
  }

  function scalar(span: Span, at: string): string {
    if (text[span.start] === '"') return maskedString(stringAt(text, span), at);
    const literal = text.slice(span.start, span.end);
    if (!isNumber(literal)) return literal;
    // A card number that was read as a float is written with a fraction.
    const shown = isCardNumber(literal.replace(/\.0+$/, "")) ? "***" : mask.maskOwn(literal);
    if (shown === literal) return literal;
    masked.push(at);
    return JSON.stringify(shown);
  }

  function howHidden(key: string, value: Span): How | null {
    const verdict = mask.keyRule(key);
    const first = text.charAt(value.start);
    if (verdict === null || first === "n") return null;
    return verdict.isPlural && isNumber(first) ? null : verdict.how;
  }

  /** Each element of an array by itself, so that a filter finds it; an object as a whole. */
  function hidden(span: Span, how: How): string {
    const first = text[span.start];
    if (how === "full") return MASK;
    if (first === "[")
      return `[${Array.from(elements(text, span.start), (element) => hidden(element, how)).join(",")}]`;
    const literal = text.slice(span.start, span.end);
    if (first === "{")
      return how === "hash"
        ? JSON.stringify(mask.hide(how, maskJson(literal, "", noMask).text))
        : MASK;
    if (first === "n") return literal;
    return JSON.stringify(
      mask.hide(how, first === '"' ? cleanText(stringAt(text, span)) : literal),
    );
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
      const how = howHidden(key, value);
      if (how) masked.push(below);
      parts.push(`${name}:${how ? hidden(value, how) : rewrite(value, below)}`);
    }
    return `{${parts.join(",")}}`;
  }

  const start = text.search(/\S/);
  return { text: rewrite({ start, end: text.trimEnd().length }, path), masked };
}

const noMask: Mask = {
  keyRule: () => null,
  maskText: (text) => text,
  maskOwn: (text) => text,
  hide: (_, text) => text,
};

const isNumber = (literal: string) => /^[\d-]/.test(literal);

/** A key, given as its JSON text, as a token of a JSON Pointer (RFC 6901). */
function pointerToken(quotedKey: string): string {
  return (JSON.parse(quotedKey) as string).replaceAll("~", "~0").replaceAll("/", "~1");
}
