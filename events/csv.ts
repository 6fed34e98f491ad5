/**
 * What may begin a value without any doubt: a letter, a digit, and how JSON texts and most other values
 * begin. Nearly every value does, so that the pattern below is seldom asked.
 */
const plainStart = new Uint8Array(128);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789{[(<"/_.:*#')
  plainStart[character.charCodeAt(0)] = 1;

/** An apostrophe, or what a spreadsheet takes for a formula, also after spaces and what cannot be seen. */
const guarded = /^(?:'|[\s\p{Cc}\p{Cf}]*[\t\r\n\0=+\-@\uFF1D\uFF0B\uFF0D\uFF20])/u;

function csvField(value: string | null): string {
  if (value === null) return "";
  if (value === "") return '""';
  const first = value.charCodeAt(0);
  const safe =
    (first < 128 && plainStart[first] === 1) || !guarded.test(value) ? value : `'${value}`;
  if (safe.includes('"')) return `"${safe.replaceAll('"', '""')}"`;
  return safe.includes(",") || safe.includes("\n") || safe.includes("\r") ? `"${safe}"` : safe;
}

/**
 * One record of a CSV file by RFC 4180, with its CRLF: fields are separated by commas, and quoted where they
 * hold a quote, a comma, a CR or an LF; a quote inside is doubled. Null is an empty field, the empty string
 * is `""`.
 *
 * A value that a spreadsheet would run as a formula gets an apostrophe before it
 * (https://owasp.org/www-community/attacks/CSV_Injection): one that begins with `=`, `+`, `-`, `@`, their
 * full-width forms, TAB, CR, LF or NUL, also after white space, control and format characters. So does one that
 * begins with an apostrophe. Hence the original is what is left when one leading apostrophe, where
 * there is one, is taken away.
 */
export function csvRow(values: readonly (string | null)[]): string {
  let row = csvField(values[0] ?? null);
  for (let n = 1; n < values.length; n++) row += `,${csvField(values[n] ?? null)}`;
  return `${row}\r\n`;
}

/** The first record of a file: the names of its columns. */
export function csvHeader(columns: readonly string[]): string {
  return csvRow(columns);
}
