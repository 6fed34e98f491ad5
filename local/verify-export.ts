import { createHash } from "node:crypto";
import { type FileHandle, open, readFile } from "node:fs/promises";
import { z } from "zod";
import { exportManifest, type ExportManifest } from "../events/export-manifest.ts";
import { rowReader } from "./export-rows.ts";
import { unpackedInto } from "./gzip-members.ts";

const usage = "Usage: npm run verify-export -- FILE MANIFEST";
const PIECE_BYTES = 1024 * 1024;

/**
 * Checks an exported file by its manifest, offline, with one piece and one row of it in memory: every part's
 * length, SHA-256, rows, first and last id, that no row is cut, and that ids only rise.
 *
 * @param onProgress gets the bytes that were checked so far
 * @returns undefined where all of it agrees, else a sentence on the first thing that does not
 * @throws where the file cannot be read
 */
export async function verifyExport(
  file: string,
  manifest: ExportManifest,
  onProgress: (bytes: number) => void = () => {},
): Promise<string | undefined> {
  const inside = disagreementInside(manifest);
  if (inside) return inside;
  const handle = await open(file);
  try {
    const buffer = Buffer.allocUnsafe(PIECE_BYTES);
    const check = partChecker(manifest);
    let done = 0;
    for (const part of manifest.parts) {
      const wrong = await check(part, async (onPiece) => {
        let found = 0;
        for await (const piece of pieces(handle, buffer, part.bytes)) {
          await onPiece(piece);
          found += piece.length;
          done += piece.length;
          onProgress(done);
        }
        return found;
      });
      if (wrong) return `part ${part.number}: ${wrong}`;
    }
    for await (const piece of pieces(handle, buffer, Infinity)) done += piece.length;
    return done > manifest.bytes
      ? `after the last part: expected the end of the file, found ${done - manifest.bytes} more bytes`
      : undefined;
  } finally {
    await handle.close();
  }
}

type Part = ExportManifest["parts"][number];

/** At most `bytes` of what follows in the file. A piece is overwritten by the next one. */
async function* pieces(handle: FileHandle, buffer: Buffer, bytes: number): AsyncGenerator<Buffer> {
  for (let left = bytes; left > 0;) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(left, buffer.length), null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
    left -= bytesRead;
  }
}

/** Returns what checks one part after the other; it says what is wrong with one. */
function partChecker(manifest: ExportManifest) {
  const rows = rowReader(manifest.format, manifest.columns);
  const digests = new Map(manifest.parts.map(({ sha256, number }) => [sha256, number]));
  const hasIds = manifest.columns.includes("id");
  return async (
    part: Part,
    read: (onPiece: (piece: Buffer) => Promise<void>) => Promise<number>,
  ): Promise<string | undefined> => {
    const hash = createHash("sha256");
    const unpacked = unpackedInto(rows, manifest.compression);
    const bytes = await read(async (piece) => {
      hash.update(piece);
      await unpacked.write(piece);
    });
    if (bytes !== part.bytes)
      return `expected ${part.bytes} bytes, found ${bytes}, where the file ends`;
    const sha256 = hash.digest("hex");
    if (sha256 !== part.sha256) {
      const other = digests.get(sha256);
      const hint = other === undefined ? "" : `, which is that of part ${other}`;
      return `expected SHA-256 ${part.sha256}, found ${sha256}${hint}`;
    }
    const failure = await unpacked.end();
    if (failure) return `expected whole gzip members, found: ${failure}`;
    const found = rows.endPart();
    if (found.rows !== part.rows) return `expected ${part.rows} rows, found ${found.rows}`;
    if (found.problem) return found.problem;
    if (hasIds && found.firstId !== part.first_id)
      return `expected the first id ${part.first_id}, found ${found.firstId}`;
    if (hasIds && found.lastId !== part.last_id)
      return `expected the last id ${part.last_id}, found ${found.lastId}`;
    return undefined;
  };
}

/** Whether the manifest's totals are those of its parts. */
function disagreementInside({ parts, ...totals }: ExportManifest): string | undefined {
  if (totals.format === "csv" && parts.length === 0)
    return "the manifest: expected a part with the header, found none";
  for (const [n, { number }] of parts.entries())
    if (number !== n + 1) return `the manifest: expected part ${n + 1}, found part ${number}`;
  const withRows = parts.filter((part) => part.rows > 0);
  const expected = {
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    bytes: parts.reduce((sum, part) => sum + part.bytes, 0),
    first_id: withRows.at(0)?.first_id ?? null,
    last_id: withRows.at(-1)?.last_id ?? null,
  };
  for (const key of ["rows", "bytes", "first_id", "last_id"] as const)
    if (totals[key] !== expected[key])
      return `the manifest: expected ${key} ${expected[key]} by its parts, found ${totals[key]}`;
  return undefined;
}

/** Prints one line. Returns the exit code: 0 verified, 1 it does not agree, 2 it could not be checked. */
export async function verifyExportCommand(args: string[]): Promise<number> {
  const [file, manifestFile, ...more] = args;
  if (file === undefined || manifestFile === undefined || more.length > 0) {
    console.error(usage);
    return 2;
  }
  try {
    const manifest = await readManifest(manifestFile);
    const wrong = await verifyExport(file, manifest, progressLine(manifest.bytes));
    clearProgress();
    if (wrong) {
      console.error(`does not agree: ${wrong}`);
      return 1;
    }
    console.log(`verified: ${summary(manifest)}`);
    return 0;
  } catch (error) {
    clearProgress();
    console.error(`not checked: ${error instanceof Error ? error.message : String(error)}`);
    return 2;
  }
}

function summary({ rows, parts, bytes, first_id, last_id, columns }: ExportManifest): string {
  const counts = `${rows} rows, ${parts.length} parts, ${bytes} bytes`;
  if (rows === 0) return counts;
  const ids = `${first_id} to ${last_id}`;
  return columns.includes("id") ? `${counts}, ids ${ids}` : `${counts} (ids not in the file)`;
}

async function readManifest(file: string): Promise<ExportManifest> {
  const text = await readFile(file, "utf8");
  const json = z.string().transform((value, context): unknown => {
    try {
      return JSON.parse(value);
    } catch {
      context.addIssue({ code: "custom", message: "not JSON" });
      return z.NEVER;
    }
  });
  const parsed = json.pipe(exportManifest).safeParse(text);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue && issue.path.length > 0 ? ` at ${issue.path.join(".")}` : "";
  throw new Error(`${file} is not the manifest of an export${where}: ${issue?.message}`);
}

function progressLine(total: number): (bytes: number) => void {
  if (!process.stderr.isTTY) return () => {};
  let shown = -1;
  return (bytes) => {
    const percent = Math.floor((100 * bytes) / Math.max(total, 1));
    if (percent === shown) return;
    shown = percent;
    process.stderr.write(`\r${percent} % of ${total} bytes`);
  };
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write("\r\u001B[K");
}

if (import.meta.main) {
  process.exitCode = await verifyExportCommand(process.argv.slice(2));
}
