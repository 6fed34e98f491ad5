import { describe, expect, test } from "vitest";
import { readTexts } from "../../db/read-texts.ts";
import { stringEnd } from "../../db/json-escapes.ts";
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

/** The answer without its texts, and these as they stand in JSON. */
async function read(response: Response, pool = new BufferPool(16 * 1024 * 1024)) {
  const texts: string[] = [];
  const answer = await readTexts(response, marker, pool, (bytes, start) => {
    const end = stringEnd(bytes, start);
    texts.push(new TextDecoder().decode(bytes.subarray(start, end)));
    return end;
  });
  return { answer, texts };
}

describe("an answer of SQL over HTTP", () => {
  test("is given without its texts, and those as the bytes that they are, however much it is", async () => {
    for (const size of [0, 1, 3_000, 900_000, 2_000_000]) {
      const [long, short] = [objectOf(size), `${objectOf(7)}\n\\${objectOf(8)}`];
      const { answer, texts } = await read(
        answerOf([
          ["1", `${marker}${long}`, "ü"],
          ["2", null, '"'],
          ["3", `${marker}${short}`, ""],
        ]),
      );
      expect(answer).toEqual({
        rows: [
          ["1", "", "ü"],
          ["2", null, '"'],
          ["3", "", ""],
        ],
      });
      expect(texts).toEqual([long, short].map((text) => JSON.stringify(text).slice(1)));
    }
  });

  test("is read into a buffer of the pool, which has it back, and nothing of what was there before is in it", async () => {
    const pool = new BufferPool(16 * 1024 * 1024);
    await read(answerOf([[`${marker}${objectOf(300_000)}`]]), pool);
    const first = pool.take(1) ?? new Uint8Array(0);
    const { length } = first;
    pool.give(first);
    const second = await read(answerOf([[`${marker}x`], ["x"]]), pool);
    expect(second).toEqual({ answer: { rows: [[""], ["x"]] }, texts: ['x"'] });
    expect(length).toBeGreaterThan(300_000);
    expect(pool.take(1)?.length).toBe(length);
    expect(pool.take(1)).toBeUndefined();
  });

  test("is refused where it was cut off", async () => {
    const cut = new Response(`{"rows":[["${marker}{\\"a\\":1`);
    await expect(read(cut)).rejects.toThrow("no end");
  });
});
