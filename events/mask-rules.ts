/** Keys whose values are secrets or personal data, as their words. More come by MASK_KEYS. */
const defaultKeys = [
  "phone",
  "password",
  "secret",
  "token",
  "authorization",
  "cookie",
  "api key",
  "ssn",
  "card number",
  "cvv",
  "iban",
];

/**
 * Words that, at the end of a key, turn it into something said about the secret, not the secret:
 * `token_count`, `password_changed_at`, `cookie_policy`.
 */
const descriptors = new Set(
  ("age at changed count created enabled expired expires expiration expiry id ids length limit name names on " +
    "policy present required rotated size status strength total ttl type types updated usage used valid verified version")
    .split(" "),
);

/** `APIKey`, `api_key`, `api-key` and `Api Key` are all ["api", "key"]; digits at a word's end are dropped. */
export function keyWords(key: string): string[] {
  return key
    .replaceAll(/([\p{Ll}\d])(\p{Lu})/gu, "$1 $2")
    .replaceAll(/(\p{Lu})(\p{Lu}\p{Ll})/gu, "$1 $2")
    .toLowerCase()
    .split(/[^\p{L}\p{N}]+/u)
    .map((word) => word.replace(/(?<=\p{L})\d+$/u, ""))
    .filter((word) => word !== "");
}

/** Says whether a key's value is masked: `plural` when only its plural matched, where a number is a count. */
export type KeyRule = (key: string) => "masked" | "plural" | "kept";

/** @param extraKeys more keys, in any spelling, such as `national_id` */
export function keyRule(extraKeys: readonly string[]): KeyRule {
  const rules = [...defaultKeys, ...extraKeys].map(keyWords).filter((words) => words.length > 0);
  const cache = new Map<string, ReturnType<KeyRule>>();
  return (key) => {
    const known = cache.get(key);
    if (known) return known;
    const words = keyWords(key);
    const verdict = rules.some((rule) => matches(words, rule))
      ? "masked"
      : rules.some((rule) => matches(words.map(singular), rule))
        ? "plural"
        : "kept";
    // Keys come from callers: the cache is bounded.
    if (cache.size < 5000) cache.set(key, verdict);
    return verdict;
  };
}

const singular = (word: string) => (word.length > 3 && !word.endsWith("ss") ? word.replace(/s$/, "") : word);

/** The rule's words, in a row or written as one (`apikey`), not followed by words that only describe. */
function matches(words: string[], rule: string[]): boolean {
  const joined = rule.join("");
  return words.some((word, at) => {
    const length = word === joined ? 1 : rule.every((part, n) => words[at + n] === part) ? rule.length : 0;
    if (length === 0) return false;
    const rest = words.slice(at + length);
    return rest.length === 0 || !rest.every((part) => descriptors.has(part));
  });
}

const bearer = /\b(Bearer)\s+[\w~+/.=-]{6,}/gi;
const privateKey = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;
const digitRun = /(?<![\d.])\d(?:[ -]?\d){12,}/g;
/** Prefixes that card schemes use (ISO/IEC 7812): they keep timestamps and snowflake ids from passing for cards. */
const cardPrefix = /^(4|5[0-8]|2(22[1-9]|2[3-9]|[3-6]|7[01]|720)|3[4-9]|30[0-5]|6)/;

/** Masks what is secret by its form: bearer tokens, private keys, card numbers. */
export function maskPatterns(text: string): string {
  if (text.length < 12) return text;
  return text
    .replace(bearer, "$1 ***")
    .replace(privateKey, "***")
    .replace(digitRun, (run) => maskCards(run));
}

/** A run may hold more than the card: `4111 1111 1111 1111 12/29`. Groups are tried, longest first. */
function maskCards(run: string): string {
  const groups = run.split(/(?<=[ -])/);
  for (let from = 0; from < groups.length; from++) {
    for (let to = Math.min(groups.length, from + 19); to > from; to--) {
      const piece = groups.slice(from, to).join("");
      if (!isCardNumber(piece.replaceAll(/[ -]/g, ""))) continue;
      const after = groups.slice(to).join("");
      return `${groups.slice(0, from).join("")}***${/[ -]$/.exec(piece)?.[0] ?? ""}${maskCards(after)}`;
    }
  }
  return run;
}

/** A card scheme's prefix and a right check digit (Luhn, ISO/IEC 7812-1 annex B). */
export function isCardNumber(digits: string): boolean {
  if (!/^\d{13,19}$/.test(digits) || !cardPrefix.test(digits)) return false;
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]);
    const doubled = i % 2 === 1 ? digit * 2 : digit;
    sum += doubled > 9 ? doubled - 9 : doubled;
  }
  return sum % 10 === 0;
}
