/** An apostrophe, or what a spreadsheet takes for a formula, also after white space and what cannot be seen. */
const formula = /^(?:'|[\s\p{Cc}\p{Cf}]*[\t\r\n=+@\uFF1D\uFF0B\uFF0D\uFF20-])/u;

/** Whether a value of a CSV file needs an apostrophe before it, so that no spreadsheet runs it. */
export function isGuarded(value: string): boolean {
  return formula.test(value);
}

/**
 * First bytes of values, in UTF-8, that are never guarded: letters, digits and how most others begin; and of
 * the bytes that begin a longer character those that begin none that cannot be seen.
 */
export const plainStarts = new Uint8Array(256);
plainStarts.fill(1, 0xc3, 0xd8).fill(1, 0xe4, 0xee);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789{[(<"/_.:*#')
  plainStarts[character.charCodeAt(0)] = 1;
