import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { csvHeader } from "../events/csv-columns.ts";
import type { ExportManifest } from "../events/export-manifest.ts";
import { verifyExportCommand } from "./verify-export.ts";

type Kind = Pick<ExportManifest, "format" | "compression">;
type Columns = ExportManifest["columns"];
type Made = { parts: Buffer[]; manifest: ExportManifest };

const kinds: Kind[] = (["csv", "jsonl"] as const).flatMap((format) =>
  (["none", "gzip"] as const).map((compression) => ({ format, compression })),
);
const columns: Columns = ["id", "action", "description", "metadata"];
const hostile = ["two\r\nlines", 'a "quote"', ",", "=1+1", "\uFFFD", "é😀", "", null];

/** Null is an empty field, the empty string a quoted one. */
const csvRow = (values: readonly (string | null)[]) =>
  `${values
    .map((value) =>
      /^$|[",\r\n]/.test(value ?? "-") ? `"${value?.replaceAll('"', '""')}"` : value,
    )
    .join(",")}\r\n`;
const idStart = '{"id":"';
const id = (n: number) => `01995d3c-0000-7000-8000-${String(n).padStart(12, "0")}`;
const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

function valuesOf(n: number): Record<string, string | null> {
  return {
    id: id(n),
    action: "document.deleted",
    description: hostile[n % hostile.length] ?? null,
    metadata: `{"n": ${n}}`,
  };
}

/** An export of as many parts as there are numbers, each of that many rows. */
function makeExport(
  kind: Kind,
  rowsOfParts: number[],
  used: Columns = columns,
  row = (n: number) => used.map((column) => valuesOf(n)[column] ?? null),
): Made {
  let n = 0;
  const made = rowsOfParts.map((rows, at) => {
    const first = n;
    let text = at === 0 && kind.format === "csv" ? csvHeader(used) : "";
    for (; n < first + rows; n++)
      text +=
        kind.format === "csv"
          ? csvRow(row(n))
          : `${JSON.stringify(Object.fromEntries(used.map((column, m) => [column, row(n)[m]])))}\n`;
    const plain = Buffer.from(text);
    // Of two members, as an exporter may write them.
    const half = plain.length >> 1;
    const packed = Buffer.concat([
      gzipSync(plain.subarray(0, half)),
      gzipSync(plain.subarray(half)),
    ]);
    const bytes = kind.compression === "gzip" ? packed : plain;
    const ids = {
      first_id: rows > 0 ? id(first) : null,
      last_id: rows > 0 ? id(n - 1) : null,
    };
    return { bytes, rows, ids };
  });
  const parts = made.map(({ bytes }) => bytes);
  const manifest: ExportManifest = {
    version: 1,
    export_id: id(0),
    tenant_id: "acme",
    requested_by: "alice",
    created_at: "2026-01-31T09:30:00.000Z",
    finished_at: "2026-01-31T09:31:00.000Z",
    ...kind,
    columns: used,
    filters: { action: ["document.*"] },
    file: "acme.csv",
    rows: n,
    bytes: Buffer.concat(parts).length,
    first_id: n > 0 ? id(0) : null,
    last_id: n > 0 ? id(n - 1) : null,
    parts: made.map(({ bytes, rows, ids }, at) => ({
      number: at + 1,
      rows,
      bytes: bytes.length,
      sha256: sha256(bytes),
      ...ids,
    })),
  };
  return { parts, manifest };
}

/** The same file in other parts, each with the right bytes and digest. */
function recut({ parts, manifest }: Made, at: number): Made {
  const whole = Buffer.concat(parts);
  const cut = [whole.subarray(0, at), whole.subarray(at)];
  return {
    parts: cut,
    manifest: {
      ...manifest,
      parts: manifest.parts.map((part, n) => {
        const bytes = cut[n] ?? Buffer.alloc(0);
        return { ...part, bytes: bytes.length, sha256: sha256(bytes) };
      }),
    },
  };
}

let dir = "";
let printed: string[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "audit-log-verify-"));
  for (const level of ["log", "error"] as const)
    vi.spyOn(console, level).mockImplementation((line) => void printed.push(String(line)));
});

beforeEach(() => {
  printed = [];
});

afterAll(async () => {
  vi.restoreAllMocks();
  await rm(dir, { recursive: true, force: true });
});

async function verify(parts: Buffer[], manifest: unknown): Promise<[number, string]> {
  await writeFile(join(dir, "file"), Buffer.concat(parts));
  const text = typeof manifest === "string" ? manifest : JSON.stringify(manifest);
  await writeFile(join(dir, "manifest"), text);
  printed = [];
  const code = await verifyExportCommand([join(dir, "file"), join(dir, "manifest")]);
  expect(printed).toHaveLength(1);
  return [code, printed[0] ?? ""];
}

describe.each(kinds)("verify-export of $format, compression $compression", (kind) => {
  const good = makeExport(kind, [40, 40, 17]);
  const bytesOf = (n: number) => good.parts[n] ?? Buffer.alloc(0);

  test("says what a good file holds", async () => {
    const { rows, bytes } = good.manifest;
    expect(await verify(good.parts, good.manifest)).toEqual([
      0,
      `verified: ${rows} rows, 3 parts, ${bytes} bytes, ids ${id(0)} to ${id(96)}`,
    ]);
  });

  test("takes a file of more than one piece, cut anywhere", async () => {
    const row = (n: number) => [id(n), "a", `${hostile[n % 8]}`.repeat(2000 + n), '{"a":"\\""}'];
    const { parts, manifest } = makeExport(kind, [700, 1, 701], columns, row);
    expect(await verify(parts, manifest)).toEqual([0, expect.stringContaining("1402 rows")]);
  });

  test("takes a file of no rows, of one empty part or of none", async () => {
    const empty = makeExport(kind, [0]);
    const [code, line] = await verify(empty.parts, empty.manifest);
    expect([code, line]).toEqual([0, `verified: 0 rows, 1 parts, ${empty.manifest.bytes} bytes`]);
  });

  test("takes a file without ids, and says so", async () => {
    const { parts, manifest } = makeExport(kind, [5, 5], ["metadata", "description"]);
    expect(await verify(parts, manifest)).toEqual([0, expect.stringContaining("ids not in")]);
  });

  test("takes the columns in any order", async () => {
    const { parts, manifest } = makeExport(kind, [9, 3], ["metadata", "description", "id"]);
    expect(await verify(parts, manifest)).toEqual([0, expect.stringContaining("12 rows")]);
  });

  test("names the part that has a byte flipped, and both digests", async () => {
    const flipped = Buffer.from(bytesOf(1));
    flipped[20] = (flipped[20] ?? 0) ^ 1;
    expect(await verify([bytesOf(0), flipped, bytesOf(2)], good.manifest)).toEqual([
      1,
      `does not agree: part 2: expected SHA-256 ${sha256(bytesOf(1))}, found ${sha256(flipped)}`,
    ]);
  });

  test("says that two parts changed places", async () => {
    const row = (n: number) => [id(n), "a", null, "{}"];
    const even = makeExport({ ...kind, compression: "none" }, [0, 8, 8], columns, row);
    const [header = Buffer.alloc(0), one = header, two = header] = even.parts;
    expect(one.length).toBe(two.length);
    const [code, line] = await verify([header, two, one], even.manifest);
    expect([code, line]).toEqual([1, expect.stringMatching(/^does not agree: part 2: .* part 3$/)]);
  });

  test("finds a row that was taken out or put in, and bytes that are missing or too many", async () => {
    const inserted = Buffer.concat([bytesOf(2), Buffer.from("x\r\n")]);
    const isGzip = kind.compression === "gzip";
    const plain = isGzip ? gunzipSync(bytesOf(1)) : bytesOf(1);
    const third = plain.indexOf(id(42)) - (kind.format === "csv" ? 0 : idStart.length);
    const pack = (bytes: Buffer) => (isGzip ? gzipSync(bytes) : bytes);
    const without = pack(plain.subarray(third));
    const doubled = pack(Buffer.concat([plain.subarray(0, third), plain]));
    const cases: [Buffer[], string][] = [
      [[bytesOf(0), without, bytesOf(2)], "part 2: expected SHA-256"],
      [[bytesOf(0), doubled, bytesOf(2)], "part 2: expected SHA-256"],
      [good.parts.slice(0, 2), `part 3: expected ${bytesOf(2).length} bytes, found 0`],
      [
        [bytesOf(0), bytesOf(1).subarray(0, 9)],
        `part 2: expected ${bytesOf(1).length} bytes, found 9`,
      ],
      [[], `part 1: expected ${bytesOf(0).length} bytes, found 0`],
      [
        [bytesOf(0), bytesOf(1), inserted],
        "after the last part: expected the end of the file, found 3",
      ],
    ];
    for (const [parts, problem] of cases)
      expect(await verify(parts, good.manifest)).toEqual([1, expect.stringContaining(problem)]);
  });

  test("finds a manifest that says something else than its file or its own parts", async () => {
    const { manifest } = good;
    const change = (at: number, part: object) => ({
      ...manifest,
      parts: manifest.parts.map((one, n) => (n === at ? { ...one, ...part } : one)),
    });
    const cases: [object, string][] = [
      [{ ...manifest, rows: 96 }, "the manifest: expected rows 97 by its parts, found 96"],
      [{ ...manifest, bytes: 1 }, "by its parts, found 1"],
      [{ ...manifest, last_id: id(95) }, `expected last_id ${id(96)} by its parts`],
      [{ ...change(1, { rows: 41 }), rows: 98 }, "part 2: expected 41 rows, found 40"],
      [change(1, { first_id: id(39) }), `part 2: expected the first id ${id(39)}, found ${id(40)}`],
      [change(1, { last_id: id(80) }), `part 2: expected the last id ${id(80)}, found ${id(79)}`],
      [change(1, { number: 3 }), "the manifest: expected part 2, found part 3"],
      [makeExport(kind, [3], ["id"]).manifest, "part 1: expected SHA-256"],
    ];
    for (const [wrong, problem] of cases)
      expect(await verify(good.parts, wrong)).toEqual([1, expect.stringContaining(problem)]);
  });

  test("finds ids that do not rise", async () => {
    const row = (n: number) => [id(n === 7 ? 3 : n), "a", null, "{}"];
    const { parts, manifest } = makeExport(kind, [5, 5], columns, row);
    expect(await verify(parts, manifest)).toEqual([
      1,
      expect.stringContaining(`row 8 has the id ${id(3)}, which does not come after ${id(6)}`),
    ]);
  });
});

describe("verify-export", () => {
  test("takes a file of no bytes, of one part or of none", async () => {
    const { manifest } = makeExport({ format: "jsonl", compression: "gzip" }, [0]);
    const [part] = manifest.parts;
    for (const parts of [[], [{ ...part, bytes: 0, sha256: sha256(Buffer.alloc(0)) }]])
      expect((await verify([], { ...manifest, bytes: 0, parts }))[0]).toBe(0);
  });

  test("does not take a CSV file without its header, of no part at all", async () => {
    const { manifest } = makeExport({ format: "csv", compression: "none" }, [0]);
    expect(await verify([], { ...manifest, bytes: 0, parts: [] })).toEqual([
      1,
      "does not agree: the manifest: expected a part with the header, found none",
    ]);
  });

  const csv: Kind = { format: "csv", compression: "none" };

  test("takes a quoted newline for a value at a part's edge, and not for the end of a row", async () => {
    const row = (n: number) => [id(n), "a", null, "a\r\n"];
    const right = makeExport(csv, [3, 3], columns, row);
    expect(await verify(right.parts, right.manifest)).toEqual([0, expect.anything()]);
    const edge = right.parts[0]?.length ?? 0;
    // The last row of part 1 ends with LF, quote, CR and LF.
    for (const back of [1, 2, 3, 4, 30]) {
      const { parts, manifest } = recut(right, edge - back);
      expect(await verify(parts, manifest)).toEqual([
        1,
        expect.stringMatching(/^does not agree: part 1: expected 3 rows, found 2$/),
      ]);
    }
    const later = recut(right, edge + 10);
    expect(await verify(later.parts, later.manifest)).toEqual([
      1,
      "does not agree: part 1: row 4 is not whole in it",
    ]);
  });

  test("finds another header, lines that end otherwise, and rows of other columns", async () => {
    const cases: [string, string][] = [
      ["id,action\n", "the header does not name the manifest's columns"],
      ["id,act", "the header is not whole"],
      [`id,action\r\n${id(0)},a\n`, "row 1 does not end with CRLF"],
      [`id,action\r\n${id(0)}\r\n`, "row 1 has 1 columns, not 2"],
    ];
    for (const [text, problem] of cases) {
      const rows = text.endsWith("n") || !text.includes(id(0)) ? 0 : 1;
      const { manifest } = makeExport(csv, [rows], ["id", "action"]);
      const made = recut({ parts: [Buffer.from(text)], manifest }, text.length);
      const right = { ...made.manifest, bytes: text.length };
      expect(await verify(made.parts, right)).toEqual([1, expect.stringContaining(problem)]);
    }
  });

  test("finds lines that are no JSON objects", async () => {
    for (const text of ["[1]\n", "\n", '{"a":1}\n', "{\n"]) {
      const { manifest } = makeExport({ format: "jsonl", compression: "none" }, [1], ["id"]);
      const made = recut({ parts: [Buffer.from(text)], manifest }, text.length);
      expect(await verify(made.parts, { ...made.manifest, bytes: text.length })).toEqual([
        1,
        "does not agree: part 1: row 1 is not a JSON object with an id",
      ]);
    }
  });

  test("finds gzip that is cut, broken, or followed by something else", async () => {
    const kind: Kind = { format: "jsonl", compression: "gzip" };
    const { parts, manifest } = makeExport(kind, [50]);
    const whole = Buffer.concat(parts);
    const broken = Buffer.from(whole);
    broken.fill(0xff, 15, 30);
    for (const bytes of [
      whole.subarray(0, -4),
      broken,
      Buffer.concat([whole, Buffer.from("more")]),
    ]) {
      const made = recut({ parts: [bytes], manifest }, bytes.length);
      expect(await verify(made.parts, { ...made.manifest, bytes: bytes.length })).toEqual([
        1,
        expect.stringContaining("part 1: expected whole gzip members, found: "),
      ]);
    }
  });

  test("ends with 2 where there is nothing to check", async () => {
    const { parts, manifest } = makeExport(csv, [1]);
    for (const [wrong, problem] of [
      ["{", "not JSON"],
      [{ ...manifest, version: 2 }, "at version"],
      [{ ...manifest, more: 1 }, "more"],
      [{ ...manifest, parts: [{ ...manifest.parts[0], sha256: "00" }] }, "at parts.0.sha256"],
    ] as const)
      expect(await verify(parts, wrong)).toEqual([2, expect.stringContaining(problem)]);
    const [file, manifestFile] = [join(dir, "file"), join(dir, "manifest")];
    await verify(parts, manifest);
    for (const args of [
      [],
      [file],
      [file, manifestFile, "x"],
      [file, join(dir, "no")],
      [join(dir, "no"), manifestFile],
      [dir, manifestFile],
    ]) {
      printed = [];
      expect(await verifyExportCommand(args)).toBe(2);
      expect(printed.join("\n")).toMatch(/^Usage:|no such file|illegal operation on a directory/);
      expect(printed).toHaveLength(1);
    }
  });
});
