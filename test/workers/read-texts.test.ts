import { describe, expect, test } from "vitest";
import { readTexts } from "../../db/read-texts.ts";
import { linesIn } from "../../db/text-lines.ts";
import { BufferPool } from "../../platform/buffer-pool.ts";

const marker = crypto.randomUUID();
const objectOf = (size: number) => `{"a":"${"é".repeat(size)}"}`;

/** An answer in many pieces, as it comes over a network. */
function answerOf(rows: unknown[][]): Response {
  const json = new TextEncoder().encode(JSON.stringify({ rows }));
  let at = 0;
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      const next = json.slice(at, at + 50_000);
      at += next.length;
      if (next.length > 0) controller.enqueue(next);
      else controller.close();
      // A read that waits is told of the end by this.
      if (next.length === 0) controller.byobRequest?.respond(0);
    },
  });
  return new Response(stream);
}

const read = (rows: unknown[][], pool = new BufferPool(16 * 1024 * 1024)) =>
  readTexts(answerOf(rows), marker, pool, (bytes, start) => linesIn("jsonl", bytes, start));
const textOf = (lines: Uint8Array) => new TextDecoder().decode(lines);

describe("an answer of SQL over HTTP", () => {
  test("is given without its texts, and those as lines, however much it is", async () => {
    for (const size of [0, 1, 3_000, 900_000, 2_000_000]) {
      const { answer, texts } = await read([
        ["1", `${marker}${objectOf(size)}`, "ü"],
        ["2", null, '"'],
        ["3", `${marker}${objectOf(7)}\n${objectOf(8)}`, ""],
      ]);
      expect(answer).toEqual({
        rows: [
          ["1", "", "ü"],
          ["2", null, '"'],
          ["3", "", ""],
        ],
      });
      expect(texts.map(({ lines }) => textOf(lines))).toEqual([
        `${objectOf(size)}\n`,
        `${objectOf(7)}\n${objectOf(8)}\n`,
      ]);
    }
  });

  test("is read into a buffer of the pool, and nothing of what was there before is in it", async () => {
    const pool = new BufferPool(16 * 1024 * 1024);
    const first = await read([[`${marker}${objectOf(300_000)}`]], pool);
    const { length } = first.buffer;
    pool.give(first.buffer);
    const second = await read([[`${marker}${objectOf(3)}`], ["x"]], pool);
    expect(second.buffer.length).toBe(length);
    expect(second.answer).toEqual({ rows: [[""], ["x"]] });
    expect(second.texts.map(({ lines }) => textOf(lines))).toEqual([`${objectOf(3)}\n`]);
    expect(pool.take(1)).toBeUndefined();
  });

  test("is refused where a text is none of rows, or has no end", async () => {
    await expect(read([[`${marker}oops`]])).rejects.toThrow("begins otherwise");
    const cut = new Response(`{"rows":[["${marker}{\\"a\\":1`);
    const reading = readTexts(cut, marker, new BufferPool(0), (bytes, start) =>
      linesIn("jsonl", bytes, start),
    );
    await expect(reading).rejects.toThrow("no end");
  });
});
