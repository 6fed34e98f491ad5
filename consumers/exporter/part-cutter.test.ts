import { describe, expect, test } from "vitest";
import { PartCutter } from "./part-cutter.ts";

const size = 200 * 1024;
const chunkOf = (id: string, text: string) => ({
  rows: 1,
  firstId: id,
  lastId: id,
  lines: new TextEncoder().encode(text),
});
const textOf = (all: { lines: Uint8Array }[]) =>
  all.map(({ lines }) => new TextDecoder().decode(lines)).join("");
const chunks = Array.from({ length: 4_000 }, (_, n) =>
  chunkOf(
    `01995d3c-0000-7000-8000-${String(n).padStart(12, "0")}`,
    `${n},${"é😀x".repeat(1 + (n % 60))}\r\n`,
  ),
);
const file = `id,action\r\n${textOf(chunks)}`;

/** The bytes of each part, and the buffers that they stood in. */
async function cut(from: number, number: number, isReleased: boolean) {
  const cutter = new PartCutter(
    { format: "csv", compression: "none", columns: ["id", "action"] },
    number,
    { sizeOf: () => size },
  );
  const parts: { text: string; lastId: string | null; rows: number }[] = [];
  const buffers = new Set<ArrayBuffer>();
  const take = async (part: Awaited<ReturnType<PartCutter["add"]>>) => {
    if (!part) return;
    const bytes = await part.bytes();
    buffers.add(bytes.buffer);
    parts.push({ text: new TextDecoder().decode(bytes), lastId: part.lastId, rows: part.rows });
    if (isReleased) part.release();
  };
  for (const chunk of chunks.slice(from)) await take(await cutter.add(chunk));
  await take(await cutter.end());
  return { parts, buffers };
}

describe("the parts of a file", () => {
  test("are the file, one after the other, also where their buffers are used again", async () => {
    const { parts, buffers } = await cut(0, 1, true);
    expect(parts.map(({ text }) => text).join("")).toBe(file);
    expect(parts.length).toBeGreaterThan(3);
    // One large one, and a small one for the last part.
    expect(buffers.size).toBeLessThanOrEqual(2);
  });

  test("leave a part alone that was not released", async () => {
    const { parts, buffers } = await cut(0, 1, false);
    expect(buffers.size).toBe(parts.length);
  });

  test("keep what they have where a large row outgrows their buffer", async () => {
    const small = chunks.slice(0, 600);
    const large = chunkOf("z", `${"é".repeat(600_000)}\r\n`);
    const cutter = new PartCutter({ format: "jsonl", compression: "none", columns: ["id"] }, 2, {
      sizeOf: () => size,
    });
    for (const chunk of small) expect(await cutter.add(chunk)).toBeUndefined();
    const part = await cutter.add(large);
    const text = new TextDecoder().decode(await part?.bytes());
    expect(text).toBe(textOf([...small, large]));
  });

  test("are the same where another goes on from the end of one of them", async () => {
    const whole = await cut(0, 1, true);
    const [first] = whole.parts;
    const rest = await cut(first?.rows ?? 0, 2, true);
    expect(rest.parts).toEqual(whole.parts.slice(1));
  });
});
