/**
 * Reads JSON as text. Objects that callers send (metadata and the states) must come back the same, key
 * order and every digit included, and a JavaScript object keeps neither: it moves integer-like keys to
 * the front and rounds long numbers. Everything here takes text that JSON.parse has already accepted.
 */

/** A piece of a JSON text: from `start`, up to and without `end`. */
export type Span = { start: number; end: number };

const QUOTE = 34;
const BACKSLASH = 92;
const isSpace = (code: number) => code === 32 || code === 10 || code === 13 || code === 9;

function skipSpace(text: string, at: number): number {
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

function skipString(text: string, at: number): number {
  for (let i = at + 1; ; i++) {
    const code = text.charCodeAt(i);
    if (code === BACKSLASH) i++;
    else if (code === QUOTE) return i + 1;
  }
}

/** The index after the value that starts at `at`, however deep it is. */
function skipValue(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return skipString(text, at);
  if (first !== "{" && first !== "[") {
    let end = at;
    while (end < text.length && !",]}".includes(text.charAt(end)) && !isSpace(text.charCodeAt(end)))
      end++;
    return end;
  }
  let depth = 0;
  for (let i = at; ; i++) {
    const character = text[i];
    if (character === '"') i = skipString(text, i) - 1;
    else if (character === "{" || character === "[") depth++;
    else if ((character === "}" || character === "]") && --depth === 0) return i + 1;
  }
}

/** The members of the object that starts at `at`: their keys and the spans of their values. */
export function* members(
  text: string,
  at = skipSpace(text, 0),
): Generator<{ key: string; keySpan: Span; value: Span }> {
  let i = skipSpace(text, at + 1);
  while (text[i] === '"') {
    const keySpan = { start: i, end: skipString(text, i) };
    const start = skipSpace(text, skipSpace(text, keySpan.end) + 1);
    const end = skipValue(text, start);
    yield { key: stringAt(text, keySpan), keySpan, value: { start, end } };
    i = skipSpace(text, end);
    if (text[i] === ",") i = skipSpace(text, i + 1);
  }
}

/** The spans of the elements of the array that starts at `at`. */
export function* elements(text: string, at = skipSpace(text, 0)): Generator<Span> {
  let start = skipSpace(text, at + 1);
  while (text[start] !== "]") {
    const end = skipValue(text, start);
    yield { start, end };
    start = skipSpace(text, end);
    if (text[start] === ",") start = skipSpace(text, start + 1);
  }
}

/** The string whose quotes the span holds. */
export function stringAt(text: string, { start, end }: Span): string {
  const inside = text.slice(start + 1, end - 1);
  return inside.includes("\\") ? (JSON.parse(text.slice(start, end)) as string) : inside;
}

/** The value of a member, as text; the last one where a key stands twice, as JSON.parse has it. */
export function memberText(text: string, key: string): string | undefined {
  let found: string | undefined;
  for (const member of members(text)) {
    if (member.key === key) found = text.slice(member.value.start, member.value.end);
  }
  return found;
}

/** The same without the spaces between its tokens. */
export function compactJson(text: string): string {
  let compact = "";
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = skipString(text, at) - 1;
    else if (isSpace(code)) {
      compact += text.slice(from, at);
      from = at + 1;
    }
  }
  return compact + text.slice(from);
}

/** A leaf of a JSON value: its path (keys joined by dots; an array's elements share its path) and its text. */
export type Leaf = { path: string; value: string };

/** Every leaf, in order. Strings come as their value, numbers and literals as they are written. */
export function* leaves(text: string, at = skipSpace(text, 0), path = ""): Generator<Leaf> {
  const first = text[at];
  if (first === "{") {
    for (const { key, value } of members(text, at)) {
      yield* leaves(text, value.start, path === "" ? key : `${path}.${key}`);
    }
  } else if (first === "[") {
    for (const element of elements(text, at)) yield* leaves(text, element.start, path);
  } else {
    const span = { start: at, end: skipValue(text, at) };
    yield { path, value: first === '"' ? stringAt(text, span) : text.slice(span.start, span.end) };
  }
}

/** True when objects and arrays stand more than `limit` inside each other. Never recurses further than that. */
export function isDeeperThan(value: unknown, limit: number): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (limit === 0) return true;
  return Object.values(value).some((inner) => isDeeperThan(inner, limit - 1));
}

/** The same of a text: it may hold more than its parsed value, where a key stands twice or is `__proto__`. */
export function isTextDeeperThan(text: string, limit: number): boolean {
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') i = skipString(text, i) - 1;
    else if (character === "}" || character === "]") depth--;
    else if ((character === "{" || character === "[") && ++depth > limit) return true;
  }
  return false;
}
