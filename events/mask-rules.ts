/** What stays of a value that is masked, from nothing to most: see masking. */
export const hows = ["full", "hash", "partial"] as const;
export type How = (typeof hows)[number];

/** What keeps less of a value. */
export const stricter = (one: How, other: How): How =>
  hows.indexOf(one) < hows.indexOf(other) ? one : other;

/** Keys whose values are secrets or personal data, as their words. More come by MASK_KEYS. */
const defaultKeys = [
  "phone",
  "password",
  "passwd",
  "pwd",
  "passphrase",
  "secret",
  "token",
  "authorization",
  "cookie",
  "api key",
  "access key",
  "private key",
  "ssn",
  "card number",
  "cvv",
  "cvc",
  "iban",
];

/**
 * Words that, at the end of a key, turn it into something said about the secret, not the secret:
 * `token_count`, `password_changed_at`, `cookie_policy`.
 */
const descriptors = new Set(
  (
    "age at changed count created enabled expired expires expiration expiry id ids length limit name names on " +
    "policy present required rotated size status strength total ttl type types updated usage used valid verified version"
  ).split(" "),
);

/** `APIKey`, `api_key`, `api-key` and `Api Key 2` are all ["api", "key"]: digits at a word's end are dropped. */
export function keyWords(key: string): string[] {
  const parted = key.replaceAll(/(?<=[\p{Ll}\d])(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})/gu, " ");
  return parted.toLowerCase().match(/(?<![\p{L}\p{N}])[\p{L}\p{N}]*\p{L}/gu) ?? [];
}

/**
 * Says how a key's value is masked, or null where it is not. `isPlural` when only its plural matched, where a
 * number is a count.
 */
export type KeyRule = (key: string) => { how: How; isPlural: boolean } | null;

/**
 * @param extraKeys more keys that are masked in full, in any spelling, such as `national_id`
 * @param chosen keys with how they are masked: more of them, or for one of the others how. Where a key matches
 *   several, what keeps the least of it holds
 */
export function keyRule(
  extraKeys: readonly string[],
  chosen: readonly { key: string; how: How }[] = [],
): KeyRule {
  const joined = (key: string) => keyWords(key).join("");
  const rules = new Map<string, How>();
  for (const { key, how } of chosen)
    rules.set(joined(key), stricter(how, rules.get(joined(key)) ?? how));
  for (const key of [...defaultKeys, ...extraKeys])
    rules.set(joined(key), rules.get(joined(key)) ?? "full");
  rules.delete("");
  const inOrder = hows.flatMap((how) => [...rules].filter((rule) => rule[1] === how));
  const hints = inOrder.map(([words]) => lettersOf(words));
  return (key) => {
    // Most keys hold no rule's letters: parting them into words costs ten times as much as this.
    const letters = lettersOf(key);
    if (!hints.some((hint) => letters.includes(hint))) return null;
    const words = keyWords(key);
    const lastTelling = words.findLastIndex((word) => !descriptors.has(word));
    const whole = inOrder.find(([rule]) => matches(words, rule, lastTelling));
    if (whole) return { how: whole[1], isPlural: false };
    const singulars = words.map(singular);
    const plural = inOrder.find(([rule]) => matches(singulars, rule, lastTelling));
    return plural ? { how: plural[1], isPlural: true } : null;
  };
}

const lettersOf = (text: string) => text.toLowerCase().replaceAll(/\P{L}+/gu, "");

const singular = (word: string) =>
  word.length > 3 && !word.endsWith("ss") ? word.replace(/s$/, "") : word;

/**
 * Words in a row make the rule (`apikey`, `API_key`, `PassWord`), and more than descriptors follow, or nothing.
 *
 * @param forms the words, or their singulars
 * @param lastTelling the place of the last word that is no descriptor
 */
function matches(forms: string[], rule: string, lastTelling: number): boolean {
  return forms.some((_, at) => {
    let joined = "";
    let end = at;
    while (end < forms.length && joined !== rule && rule.startsWith(joined)) joined += forms[end++];
    return joined === rule && (end === forms.length || lastTelling >= end);
  });
}

const bearer = /(?<![a-z])(Bearer)\s+(?:Bearer\s+)*[^\s"',;]{6,}/gi;
const privateKey =
  /-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|$)/g;
/**
 * Digits as cards are written: in one, in groups, or four by four with points between. A UUID and a
 * digest in hex may hold such a row by chance: they come first, so that they are passed over.
 */
const cardLike =
  /(?<![\da-f])(?:[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}|(?=\d*[a-f])[\da-f]{24,})|(?<!\d|\d\.)(?:\d{4}(?:\.\d{4}){3}(?!\.?\d)|\d(?:[ \u00A0-]?\d){12,})/gi;
/**
 * Prefixes of card schemes with the lengths that they issue (ISO/IEC 7812): they keep timestamps and
 * snowflake ids from passing for cards.
 */
const cardForm =
  /^(?:4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7]|35|8[12])\d{14}|3[47]\d{13}|3(?:0[0-5]|[689]\d)\d{11}|(?:50|5[6-8]|6\d)(?:\d{14}|\d{17}))$/;

/** Masks what is secret by its form: bearer tokens, private keys, card numbers. */
export function maskPatterns(text: string): string {
  if (text.length < 12) return text;
  return text
    .replace(bearer, "$1 ***")
    .replace(privateKey, "***")
    .replace(cardLike, (run) => (/[a-f]/i.test(run) ? run : maskCards(run)));
}

/** A row may hold more than the card: `4111 1111 1111 1111 12/29`. Groups are tried, longest first. */
function maskCards(row: string): string {
  // Groups stand at even places, with what parts them between.
  const parts = row.split(/([ \u00A0.-])/);
  let shown = "";
  for (let at = 0; at < parts.length; at += 2) {
    const end = cardEnd(parts, at);
    shown += `${end === undefined ? parts[at] : "***"}${parts[(end ?? at) + 1] ?? ""}`;
    at = end ?? at;
  }
  return shown;
}

/** The place of the last group of the longest card number that begins with this group. */
function cardEnd(parts: string[], from: number): number | undefined {
  let end: number | undefined;
  let digits = "";
  for (let at = from; at < parts.length && digits.length < maxCardLength; at += 2) {
    digits += parts[at];
    if (digits.length >= minCardLength && isCardNumber(digits)) end = at;
  }
  return end;
}

const minCardLength = 13;
const maxCardLength = 19;
const zero = 48;

/** A card scheme's form and a right check digit (Luhn, ISO/IEC 7812-1 annex B). */
export function isCardNumber(digits: string): boolean {
  if (!cardForm.test(digits)) return false;
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(digits.length - 1 - i) - zero;
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
