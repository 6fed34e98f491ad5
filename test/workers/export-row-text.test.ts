import { sql } from "drizzle-orm";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { LineMaker } from "../../db/export-lines.ts";
import { marksWith, nullsOf, type RowForm, rowText } from "../../db/export-row-text.ts";
import { auditLogs } from "../../db/schema.ts";
import { type AuditLog, auditLogJson, jsonFields } from "../../events/audit-log.ts";
import { type ExportColumn, exportColumns } from "../../events/csv-columns.ts";
import { BufferPool } from "../../platform/buffer-pool.ts";
import { rowsOf } from "./database.ts";

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

const formulaStarts = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"];
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
  // What stands between values, and in the place of one that is not there.
  "\u007F",
  "^@",
  "\u2028",
  "é",
  "😀",
  "x",
);
const anyTextWithNul = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string({ unit: hostile, maxLength: 12 }),
  // Lone surrogates come in as U+FFFD already.
  fc
    .array(fc.integer({ min: 0, max: 0xffff }))
    .map((codes) => String.fromCharCode(...codes).toWellFormed()),
);

const textColumns = exportColumns.filter(
  (column) => !["id", "created_at", "occurred_at", "severity", ...jsonFields].includes(column),
);
const anyText = anyTextWithNul.map((text) => text.replaceAll("\0", ""));
/** Of a column, as it can be stored. */
const anyValueOf = (column: (typeof textColumns)[number]) =>
  auditLogs[column].notNull ? anyText : fc.option(anyText, { nil: null });
const anyTexts = fc.record(
  Object.fromEntries(textColumns.map((column) => [column, anyValueOf(column)])),
);

/** A file of logs as it is made of stored ones; they are given to Postgres as JSON. */
async function fileOf(form: RowForm, logs: readonly object[], suffix = ""): Promise<string> {
  const found = await readAs(form, logs, suffix);
  return found ?? (await readAs(form, logs, crypto.randomUUID())) ?? "";
}

/** @returns undefined where some value cannot be told from what stands between them */
async function readAs(form: RowForm, logs: readonly object[], suffix: string) {
  const marks = marksWith(suffix);
  const [row] = await rowsOf(sql`
    select string_agg(${rowText(form.columns, marks)}, ${marks.separator}::text) as text,
      count(*)::integer as rows, sum(${nullsOf(form.columns)})::integer as nulls
    from json_populate_recordset(null::audit_logs, ${JSON.stringify(logs)}::json) as audit_logs`);
  const made = linesOf(form, JSON.stringify(row?.["text"]), suffix);
  return made?.rows === row?.["rows"] && made?.nulls === row?.["nulls"] ? made?.text : undefined;
}

/** As they are made of a text that came in as JSON. */
function linesOf(form: RowForm, json: string, suffix = "") {
  const bytes = new Uint8Array(new TextEncoder().encode(`${json},`));
  const maker = new LineMaker(form, marksWith(suffix), new BufferPool(0));
  const made = maker.take(bytes, 1);
  expect(made.end).toBe(bytes.length - 1);
  if (!("rows" in made)) return undefined;
  // A value may begin with what else is taken for a byte order mark.
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return { ...made, text: decoder.decode(maker.bytesOf(made)) };
}

const csv = (columns: readonly ExportColumn[]): RowForm => ({ format: "csv", columns });

/** Lines of one column each, and the fields that a reader finds in them. */
async function fieldsOf(column: ExportColumn, values: (string | null)[]): Promise<Parsed[]> {
  const file = await fileOf(
    csv([column, "id"]),
    values.map((value) => ({ id: empty.id, [column]: value })),
  );
  return parseCsv(file).map(([field = { value: "", isQuoted: false }]) => field);
}

describe("a line of CSV", () => {
  test("gives back the values of any log, null and the empty string told apart", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyTexts, { minLength: 1, maxLength: 12 }), async (logs) => {
        const file = await fileOf(
          csv(textColumns),
          logs.map((one) => ({ id: empty.id, ...one })),
        );
        expect(parseCsv(file).map((record) => record.map(original))).toEqual(
          logs.map((one) => textColumns.map((column) => one[column])),
        );
      }),
      { numRuns: 100 },
    );
  });

  test("begins no field with what a spreadsheet would run, whatever comes before it unseen", async () => {
    const values = invisible.flatMap((before) =>
      formulaStarts.map((start) => `${before}${start}cmd|' /C calc'!A0`),
    );
    const fields = await fieldsOf("description", values);
    expect(fields.map(({ value }) => value)).toEqual(values.map((value) => `'${value}`));
  });

  test("begins no field of any log with what a spreadsheet would run", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyText, { minLength: 1, maxLength: 200 }), async (values) => {
        for (const { value } of await fieldsOf("user_agent", values))
          expect(value.trimStart()).not.toMatch(/^[=+\-@＝＋－＠\t\r\n]/);
      }),
      { numRuns: 50 },
    );
  });

  test("counts as unseen what Unicode counts as white space, control or format", async () => {
    const all = Array.from({ length: 0x110000 }, (_, code) => code)
      .filter((code) => code > 0 && !(code >= 0xd800 && code < 0xe000))
      .map((code) => String.fromCodePoint(code))
      .filter((character) => /[\s\p{Cc}\p{Cf}]/u.test(character));
    const fields = await fieldsOf(
      "description",
      all.map((character) => `${character}=1`),
    );
    expect(fields.map(({ value }) => value)).toEqual(all.map((character) => `'${character}=1`));
  });

  test("begins and ends with its own values, whatever stands between lines of a chunk", async () => {
    const units = ["(", ")", "\\", "\n", "\r\n", '"', ",", "x"];
    const values = fc.array(
      fc.string({ unit: fc.constantFrom(...units, ")\\\n("), maxLength: 12 }),
      { minLength: 1, maxLength: 20 },
    );
    await fc.assert(
      fc.asyncProperty(values, async (texts) => {
        const fields = await fieldsOf("description", texts);
        expect(fields.map(original)).toEqual(texts);
      }),
      { numRuns: 100 },
    );
  });

  test("is the same however SQL over HTTP escapes its characters", () => {
    const value = 'é 😀 \u0001 /\t"\uFEFF,\b\f\r\nc:\\d';
    const text = `${empty.id}\x7F${value}\x7Fb`;
    const numbered = JSON.stringify(text).replaceAll(
      /[\u0080-\uFFFF]/g,
      (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    const all = numbered.replaceAll('\\"', "\\u0022").replaceAll("/", "\\/");
    const columns = ["description", "action"] as const;
    for (const json of [JSON.stringify(text), numbered, all]) {
      expect(linesOf({ format: "csv", columns }, json)?.text).toBe(
        `"${value.replaceAll('"', '""')}",b\r\n`,
      );
      expect(linesOf({ format: "jsonl", columns }, json)?.text).toBe(
        `${JSON.stringify({ description: value, action: "b" })}\n`,
      );
    }
  });

  test("leaves harmless values as they are", async () => {
    const values = [
      "a",
      "é 😀",
      "a=b",
      "1-2",
      "_x",
      "a'b",
      "\\",
      'a\\"b',
      "c:\\\\d",
      "a,b",
      "x\r\ny",
      "(z)",
    ];
    const fields = await fieldsOf("description", values);
    expect(fields.map(({ value }) => value)).toEqual(values);
    expect(
      await fileOf(csv(["action", "description", "user_id", "email"]), [
        { id: empty.id, action: "a.b", description: "'tis", user_id: "-1", email: "" },
      ]),
    ).toBe("a.b,''tis,'-1,\"\"\r\n");
  });

  test("holds times in UTC with milliseconds, and JSON as it was sent, every digit of it", async () => {
    const metadata = '{"b": 9007199254740993, "1": 1e400, "a": "=1+1\\n"}';
    const line = await fileOf(csv(["created_at", "metadata", "outcome", "masked_fields"]), [
      {
        ...empty,
        metadata: null,
        created_at: "2026-01-31T10:30:00.5+01:00",
        masked_fields: ["/a"],
      },
    ]);
    expect(line).toBe('2026-01-31T09:30:00.500Z,,,"[""/a""]"\r\n');
    const [stored] = await rowsOf(sql`
      select ${rowText(["metadata"], marksWith(""))} as text
      from (select ${empty.id} as id, ${metadata}::json as metadata) as audit_logs`);
    const made = linesOf(csv(["metadata"]), JSON.stringify(stored?.["text"]));
    const [[field] = []] = parseCsv(made?.text ?? "");
    expect(field?.value).toBe(metadata);
  });

  test("takes a value of 200 KiB that is all spaces, quotes or backslashes in no time", async () => {
    const values = [" ", '"', "\u200B", "'", "\\"].map((unit) => unit.repeat(200 * 1024));
    const started = Date.now();
    const fields = await fieldsOf("description", values);
    expect(fields.map(original)).toEqual(values);
    expect(Date.now() - started).toBeLessThan(5000);
  });
});

describe("a line of JSON", () => {
  test("is what the API answers of the same log, with any columns in any order", async () => {
    const lists = fc.record({
      truncated_fields: fc.option(fc.array(anyText), { nil: null }),
      masked_fields: fc.option(fc.array(anyText), { nil: null }),
    });
    const columns = fc.shuffledSubarray([...exportColumns], { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(anyTexts, lists, columns, async (values, listed, wanted) => {
        const log = { ...empty, ...values, ...listed };
        const stored = {
          ...log,
          metadata: { a: 1 },
          before_state: null,
          after_state: null,
          targets: null,
        };
        const textOrNull = (value: unknown) => (value === null ? null : JSON.stringify(value));
        const answered: AuditLog = {
          ...empty,
          ...values,
          truncated_fields: textOrNull(listed.truncated_fields),
          masked_fields: textOrNull(listed.masked_fields),
        };
        const file = await fileOf({ format: "jsonl", columns: wanted }, [stored, stored]);
        expect(file).toBe(`${auditLogJson(answered, wanted)}\n`.repeat(2));
      }),
      { numRuns: 200 },
    );
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
  metadata: '{"a":1}',
  before_state: null,
  after_state: null,
  targets: null,
  truncated_fields: null,
  masked_fields: null,
};
