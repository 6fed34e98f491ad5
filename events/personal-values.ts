import { isIpPattern } from "./log-filter.ts";
import type { Found } from "./mask-form.ts";

/** Forms of personal data that tenants may have masked by their names. */
export const personalNames = ["email", "ip", "phone", "iban"] as const;
export type PersonalName = (typeof personalNames)[number];

/**
 * Each begins where a row of its characters begins, and says how long it is at most: no text is read more
 * than a fixed number of times.
 */
const finders: Record<PersonalName, (text: string) => Found[]> = {
  email: (text) => all(text, email),
  ip: (text) => all(text, address).filter(({ start, end }) => isIpPattern(text.slice(start, end))),
  phone: (text) => all(text, phone),
  iban: (text) =>
    all(text, ibanLike).flatMap(({ start, end }) => {
      const length = ibanLength(text.slice(start, end));
      return length === undefined ? [] : [{ start, end: start + length }];
    }),
};

/** Where such values stand in a text, from left to right. */
export function findPersonal(name: PersonalName, text: string): Found[] {
  return finders[name](text);
}

const email =
  /(?<![\p{L}\p{N}._%+-])[\p{L}\p{N}._%+-]{1,255}@(?:[\p{L}\p{N}](?:[\p{L}\p{N}-]{0,61}[\p{L}\p{N}])?\.){1,8}\p{L}{2,24}(?![\p{L}\p{N}-])/gu;
/** Four numbers with points between, or what may be an IPv6 address: what is one is told by value. */
const address =
  /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\d|\.\d)|(?<![\da-z:.])(?=[\da-f]{0,4}:)[\da-f:]{2,39}(?:\d{1,3}(?:\.\d{1,3}){3})?(?![\da-z:]|\.\d)/gi;
/** As it is dialled from abroad. What a number is that is written without its country cannot be told. */
const phone = /(?<![\p{L}\p{N}+])\+[1-9](?:[ ().\u00A0/-]{0,2}\d){6,14}(?![\p{L}\p{N}])/gu;
const ibanLike = /(?<![\p{L}\p{N}])[A-Z]{2}\d{2}(?: ?[A-Z\d]){11,30}(?![\p{L}\p{N}])/gu;

function all(text: string, pattern: RegExp): Found[] {
  return Array.from(text.matchAll(pattern), (match) => ({
    start: match.index,
    end: match.index + match[0].length,
  }));
}

/**
 * How much of a row of groups is an account number (ISO 13616): the words behind it may look like groups.
 *
 * @returns the length of the longest that has right check digits (ISO/IEC 7064, mod 97-10)
 */
function ibanLength(row: string): number | undefined {
  const ends = [...row.matchAll(/ |$/g)].map((match) => match.index).toReversed();
  return ends.find((end) => {
    const account = row.slice(0, end).replaceAll(" ", "");
    return account.length >= 15 && account.length <= 34 && hasRightCheck(account);
  });
}

function hasRightCheck(account: string): boolean {
  const digits = (account.slice(4) + account.slice(0, 4)).replaceAll(/[A-Z]/g, (letter) =>
    String(letter.charCodeAt(0) - 55),
  );
  let rest = 0;
  for (const digit of digits) rest = (rest * 10 + Number(digit)) % 97;
  return rest === 1;
}
