import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { readBody } from "./read-body.ts";

type Sent = { pieces: Iterable<Uint8Array>; headers?: Record<string, string>; gapMs?: number };

/** A request whose body comes in pieces, as from a network; `taken` counts those that were asked for. */
function requestOf({ pieces, headers = {}, gapMs = 0 }: Sent) {
  const rest = pieces[Symbol.iterator]();
  const seen = { taken: 0, isCancelled: false };
  const body = new ReadableStream({
    type: "bytes",
    async pull(controller) {
      if (gapMs > 0) await new Promise((resolve) => setTimeout(resolve, gapMs));
      const { done, value } = rest.next();
      if (seen.isCancelled) return;
      if (done) {
        controller.close();
        // A pending read ends by this, as the standard has it.
        controller.byobRequest?.respond(0);
      } else {
        seen.taken++;
        controller.enqueue(value.slice());
      }
    },
    cancel() {
      seen.isCancelled = true;
    },
  });
  const request = new Request("http://audit/", { method: "POST", body, headers });
  return { request, seen };
}

function* repeated(piece: Uint8Array, times: number): Generator<Uint8Array> {
  for (let n = 0; n < times; n++) yield piece;
}

const kib = new Uint8Array(1_024).fill(7);

describe("a body", () => {
  test("is what was sent, however it was cut and whatever length was declared", async () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 60 });
    const declared = fc.option(fc.oneof(fc.nat(4_000), fc.constant("a few")));
    await fc.assert(
      fc.asyncProperty(pieces, declared, async (sent, length) => {
        const headers = length === null ? {} : { "Content-Length": String(length) };
        const { request } = requestOf({ pieces: sent, headers });
        const whole = sent.flatMap((piece) => [...piece]);
        expect([...(await readBody(request, 4_096))]).toEqual(whole);
      }),
    );
  });

  test("may be as large as the limit, and not a byte larger", async () => {
    const most = requestOf({ pieces: repeated(kib, 4) });
    expect((await readBody(most.request, 4_096)).byteLength).toBe(4_096);
    const over = requestOf({ pieces: repeated(kib, 4) });
    await expect(readBody(over.request, 4_095)).rejects.toMatchObject({ code: "too_large" });
  });

  test("that says that it is too large is not read at all", async () => {
    const { request, seen } = requestOf({
      pieces: repeated(kib, 1_000),
      headers: { "Content-Length": "1024000" },
    });
    await expect(readBody(request, 4_096)).rejects.toMatchObject({ code: "too_large" });
    expect(seen.taken).toBeLessThanOrEqual(1);
  });

  test.each([{ "Content-Length": "100" }, { "Content-Length": "0" }, {}])(
    "that has no end is given up once it is too large, under %j",
    async (headers) => {
      const endless = { pieces: repeated(kib, Number.MAX_SAFE_INTEGER), headers };
      const { request, seen } = requestOf(endless);
      await expect(readBody(request, 64 * 1_024)).rejects.toMatchObject({ code: "too_large" });
      expect(seen.taken).toBeLessThan(70);
      expect(seen.isCancelled).toBe(true);
    },
  );

  test("of a hundred thousand pieces is held as one", async () => {
    const bytes = new Uint8Array([1]);
    const { request } = requestOf({ pieces: repeated(bytes, 100_000) });
    const body = await readBody(request, 256 * 1_024);
    expect(body.byteLength).toBe(100_000);
    expect(body.buffer.byteLength).toBeLessThanOrEqual(256 * 1_024 + 1);
  });

  test("that keeps coming, but too slowly, is given up in time", async () => {
    const began = Date.now();
    const { request, seen } = requestOf({ pieces: repeated(kib, 1_000), gapMs: 20 });
    await expect(readBody(request, 4_194_304, 300)).rejects.toMatchObject({
      code: "request_timeout",
    });
    expect(Date.now() - began).toBeLessThan(2_000);
    expect(seen.isCancelled).toBe(true);
  });

  test("that is cut off is the caller's mistake", async () => {
    const body = new ReadableStream({
      type: "bytes",
      pull(controller) {
        controller.error(new Error("Network connection lost."));
      },
    });
    const request = new Request("http://audit/", { method: "POST", body });
    await expect(readBody(request, 10)).rejects.toMatchObject({ code: "malformed_json" });
  });

  test("that is not there is empty", async () => {
    const request = new Request("http://audit/", { method: "POST" });
    expect((await readBody(request, 10)).byteLength).toBe(0);
  });
});
