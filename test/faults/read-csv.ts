/**
 * The records of a CSV file (RFC 4180) with their values as docs/exports.md gives them: an empty field is
 * null, `""` the empty text, and one leading apostrophe is taken away. However the service quotes, this is
 * what a reader gets.
 */
export function readCsv(text: string): (string | null)[][] {
  const records: (string | null)[][] = [];
  let record: (string | null)[] = [];
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y;
  while (field.lastIndex < text.length) {
    const at = field.lastIndex;
    const [, quoted, plain = "", end] = field.exec(text) ?? [];
    if (end === undefined) throw new Error(`There is no field at character ${at}.`);
    const value = quoted === undefined ? plain : quoted.replaceAll('""', '"');
    record.push(quoted === undefined && plain === "" ? null : value.replace(/^'/, ""));
    if (end === ",") continue;
    records.push(record);
    record = [];
  }
  return records;
}
