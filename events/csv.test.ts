import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type AuditLog, auditLogJson, auditLogSchema } from "./audit-log.ts";
import { csvValues, exportColumns } from "./csv-columns.ts";
import { csvHeader, csvRow } from "./csv.ts";

type Parsed = { value: string; isQuoted: boolean };

/** A reader of RFC 4180 and no more, so that what it takes every reader takes. */
function parseCsv(text: string): Parsed[][] {
  const records: Parsed[][] = [];
  let at = 0;
  while (at < text.length) {
    const record: Parsed[] = [];
    for (;;) {
      const isQuoted = text[at] === '"';
      let value = "";
      if (isQuoted) {
        for (at++; ; at += 2) {
          const end = text.indexOf('"', at);
          if (end < 0) throw new Error("a quote is not closed");
          value += text.slice(at, end);
          at = end;
          if (text[end + 1] !== '"') break;
          value += '"';
        }
        at++;
      } else {
        const end = /[,\r\n"]/.exec(text.slice(at))?.index ?? text.length - at;
        value = text.slice(at, at + end);
        at += end;
      }
      record.push({ value, isQuoted });
      if (text[at] !== ",") break;
      at++;
    }
    if (text.slice(at, at + 2) !== "\r\n") throw new Error(`no CRLF at ${at}`);
    at += 2;
    records.push(record);
  }
  return records;
}

/** The documented way back: an empty field that is not quoted is null, and one leading apostrophe goes. */
function original({ value, isQuoted }: Parsed): string | null {
  if (value === "" && !isQuoted) return null;
  return value.startsWith("'") ? value.slice(1) : value;
}

const formulaStarts = ["=", "+", "-", "@", "\t", "\r", "\n", "\0", "＝", "＋", "－", "＠"];
const invisible = ["", " ", "   ", "\u00A0", "\u3000", "\uFEFF", "\u200B", "\u2060", "\x01", " \t"];
const hostile = fc.constantFrom(
  ...formulaStarts,
  ...invisible,
  "'",
  '"',
  ",",
  ";",
  "\r\n",
  "\uFFFD",
  "\u2028",
  "é",
  "😀",
  "x",
);
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: hostile, maxLength: 12 }),
  // Lone surrogates come in as U+FFFD already.
  fc
    .array(fc.integer({ min: 0, max: 0xffff }))
    .map((codes) => String.fromCharCode(...codes).toWellFormed()),
);
const anyValue = fc.option(anyText, { nil: null });

/** Through the bytes of a file. */
function written(text: string): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
    new TextEncoder().encode(text),
  );
}

describe("CSV", () => {
  test("gives back any rows, null and the empty string told apart", () => {
    fc.assert(
      fc.property(fc.array(fc.array(anyValue, { minLength: 1, maxLength: 6 })), (rows) => {
        const file = written(rows.map(csvRow).join(""));
        expect(parseCsv(file).map((record) => record.map(original))).toEqual(rows);
      }),
      { numRuns: 2000 },
    );
  });

  test("begins no field with what a spreadsheet would run, whatever comes before it unseen", () => {
    for (const before of invisible) {
      for (const start of formulaStarts) {
        const value = `${before}${start}cmd|' /C calc'!A0`;
        const [[field] = []] = parseCsv(csvRow([value]));
        expect(field?.value).toBe(`'${value}`);
      }
    }
  });

  test("begins no field of any row with what a spreadsheet would run", () => {
    fc.assert(
      fc.property(fc.array(anyValue, { minLength: 1, maxLength: 6 }), (row) => {
        for (const { value } of parseCsv(csvRow(row)).flat())
          expect(value.trimStart()).not.toMatch(/^[=+\-@＝＋－＠\t\r\n]/);
      }),
      { numRuns: 2000 },
    );
  });

  test("leaves harmless values as they are, and quotes only where it must", () => {
    expect(csvRow(["a", "2026-01-31T09:30:00.000Z", "é 😀", "a=b", "1-2", "_x", "a'b"])).toBe(
      "a,2026-01-31T09:30:00.000Z,é 😀,a=b,1-2,_x,a'b\r\n",
    );
    expect(csvRow(["a,b", 'say "x"', "two\nlines", "two\rlines", null, ""])).toBe(
      '"a,b","say ""x""","two\nlines","two\rlines",,""\r\n',
    );
    expect(csvRow(["'tis", "''", "'=1", "-1"])).toBe("''tis,''',''=1,'-1\r\n");
  });

  test("names the columns first, without a byte order mark", () => {
    expect(csvHeader(["id", "action"])).toBe("id,action\r\n");
  });

  test("takes a value of 200 KiB that is all spaces or all quotes in no time", () => {
    const started = Date.now();
    for (const unit of [" ", '"', "\u200B", "'"]) {
      const value = unit.repeat(200 * 1024);
      expect(parseCsv(csvRow([value]))[0]?.map(original)).toEqual([value]);
    }
    expect(Date.now() - started).toBeLessThan(2000);
  });
});

describe("the columns of an export", () => {
  test("are the fields that an answer gives, in the same order", () => {
    expect([...exportColumns]).toEqual(Object.keys(auditLogSchema.shape));
  });

  test("hold what the answer holds: JSON as it was sent, every digit of it", () => {
    const metadata = '{"b": 9007199254740993, "1": 1e400, "a": "=1+1"}';
    const texts = { ...empty, metadata, truncated_fields: '["/user_agent"]' };
    expect(csvValues(texts, ["metadata", "id", "outcome", "truncated_fields"])).toEqual([
      metadata,
      empty.id,
      null,
      '["/user_agent"]',
    ]);
    expect(auditLogJson(texts)).toContain(metadata);
    expect(csvValues(texts, exportColumns)).toHaveLength(exportColumns.length);
  });
});

const empty: AuditLog = {
  id: "01995d3c-0000-7000-8000-000000000000",
  tenant_id: "acme",
  created_at: "2026-01-31T09:30:00.000Z",
  occurred_at: "2026-01-31T09:30:00.000Z",
  action: "a",
  severity: "INFO",
  outcome: null,
  actor_type: "user",
  actor_name: null,
  user_id: null,
  email: null,
  session_id: null,
  request_id: null,
  ip_address: null,
  user_agent: null,
  resource_type: "r",
  resource_id: "1",
  resource_name: null,
  description: null,
  event_id: null,
  recorded_by: "alice",
  metadata: "{}",
  before_state: "{}",
  after_state: "{}",
  targets: "[]",
  truncated_fields: null,
  masked_fields: null,
};
