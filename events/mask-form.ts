/**
 * The forms of values that a tenant may have masked, such as `EMP-####`: `#` is a digit, `?` a letter or a
 * digit, `*` a row of them; `\` makes the next one stand for itself, as all others do, in any letter case.
 *
 * Regular expressions would say more, and let one tenant's rule hold up everyone's isolate. Here a `*` takes
 * all letters and digits that there are, and what follows it is neither: there is never a second way to
 * match, so no step back, and a text is read in steps that grow with its length only.
 */

type Part =
  | { kind: "digit" | "either" | "row" }
  /** One UTF-16 code unit. */
  | { kind: "same"; lower: string; code: number };
export type Form = readonly Part[];

/** Where a match begins, and the index after it. */
export type Found = { start: number; end: number };
/** What a form reads of a string. */
export type Units = Pick<string, "length" | "charCodeAt">;

export const maxFormLength = 100;
const leastParts = 3;

/** @returns what is wrong with the form, as a sentence, where it is none */
export function parseForm(text: string): Form | string {
  const parts: Part[] = [];
  for (let at = 0; at < text.length; at++) {
    const kind = wildcards.get(text.charAt(at));
    if (kind) parts.push({ kind });
    else if (text[at] !== "\\") parts.push(same(text, at));
    else if (at + 1 < text.length) parts.push(same(text, ++at));
    else return "must not end in \\";
  }
  if (parts.filter(({ kind }) => kind !== "row").length < leastParts)
    return `must have at least ${leastParts} characters besides *`;
  const isOpen = parts.some(({ kind }, n) => kind === "row" && isWord(parts[n + 1]));
  return isOpen ? "must have neither a letter, a digit nor one of # ? * behind a *" : parts;
}

const wildcards = new Map<string, "digit" | "either" | "row">([
  ["#", "digit"],
  ["?", "either"],
  ["*", "row"],
]);

function same(text: string, at: number): Part {
  return { kind: "same", lower: text.charAt(at).toLowerCase(), code: text.charCodeAt(at) };
}

const isWord = (part: Part | undefined): boolean =>
  part !== undefined && (part.kind !== "same" || isWordUnit(part.code));

/** Where the form stands in a text, from left to right: words that it begins or ends with are whole ones. */
export function findForm(form: Form, text: Units): Found[] {
  const beginsWord = isWord(form[0]);
  const endsWord = isWord(form.at(-1));
  const found: Found[] = [];
  for (let start = 0; start < text.length; start++) {
    if (beginsWord && start > 0 && isWordUnit(text.charCodeAt(start - 1))) continue;
    const end = endOf(form, text, start);
    if (end === undefined) continue;
    if (endsWord && end < text.length && isWordUnit(text.charCodeAt(end))) continue;
    found.push({ start, end });
    start = end - 1;
  }
  return found;
}

function endOf(form: Form, text: Units, start: number): number | undefined {
  let at = start;
  for (const part of form) {
    const from = at;
    if (part.kind === "row") while (at < text.length && isWordUnit(text.charCodeAt(at))) at++;
    else if (at < text.length && fits(part, text.charCodeAt(at))) at++;
    if (at === from) return undefined;
  }
  return at;
}

function fits(part: Part, code: number): boolean {
  if (part.kind === "digit") return isDigit(code);
  if (part.kind === "either") return isWordUnit(code) && !isSurrogate(code);
  return (
    part.kind === "same" &&
    (code === part.code || String.fromCharCode(code).toLowerCase() === part.lower)
  );
}

const isDigit = (code: number) => code >= 48 && code <= 57;
const isSurrogate = (code: number) => code >= 0xd800 && code <= 0xdfff;

/** A letter, a digit, a mark on one, or half of a character beyond the 65,536 first: no match parts it. */
function isWordUnit(code: number): boolean {
  if (code < 128) return isDigit(code) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);
  return isSurrogate(code) || /[\p{L}\p{N}\p{M}]/u.test(String.fromCharCode(code));
}
