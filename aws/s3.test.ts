import { afterEach, describe, expect, test, vi } from "vitest";
import { connectS3 } from "./s3.ts";
import { S3Error } from "./s3-answers.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const s3 = connectS3(
  {
    accessKeyId: "key",
    secretAccessKey: "secret",
    region: "ap-southeast-1",
    endpoint: "http://s3",
    bucket: "exports",
  },
  { retryMs: 10 },
);

const callsOf = (fetch: { mock: { calls: unknown[][] } }) =>
  fetch.mock.calls.filter(
    ([input]) => input instanceof Request && input.url.startsWith("http://s3/"),
  );

/** Answers with these, one after the other, and then that the object is there. */
function answers(...responses: (() => Response)[]) {
  return vi.spyOn(globalThis, "fetch").mockImplementation(async (input) => {
    // Pollers of other tests may be at work.
    if (!(input instanceof Request && input.url.startsWith("http://s3/"))) return Response.error();
    const next = responses.shift();
    return next ? next() : new Response(null, { headers: { ETag: '"e"', "Content-Length": "0" } });
  });
}
const error =
  (status: number, code: string, headers: Record<string, string> = {}) =>
  () =>
    new Response(`<Error><Code>${code}</Code></Error>`, { status, headers });
const reset = () => {
  throw new Error("connection reset");
};
const upload = () => s3.uploadPart("key", "upload", 1, new Uint8Array(), "0".repeat(64));
const refusal = (asked: Promise<unknown>) => asked.catch((reason: unknown) => reason);

describe("a call of S3", () => {
  test("is tried up to four times while its errors pass", async () => {
    const fetch = answers(error(503, "SlowDown"), error(500, "InternalError"), reset);
    expect(await upload()).toBe('"e"');
    expect(callsOf(fetch)).toHaveLength(4);
  });

  test("ends with the last error after that", async () => {
    const fetch = answers(...Array.from({ length: 9 }, () => error(503, "SlowDown")));
    expect(await refusal(upload())).toMatchObject({
      name: "S3Error",
      code: "SlowDown",
      status: 503,
    });
    expect(callsOf(fetch)).toHaveLength(4);
  });

  test.each([
    [403, "AccessDenied"],
    [404, "NoSuchUpload"],
  ])("is not tried again after %i %s", async (status, code) => {
    const fetch = answers(error(status, code));
    expect(await refusal(upload())).toBeInstanceOf(S3Error);
    expect(callsOf(fetch)).toHaveLength(1);
  });

  test("waits for as long as S3 asks, and gives up where that is too long", async () => {
    answers(error(503, "SlowDown", { "Retry-After": "1" }));
    const began = Date.now();
    await upload();
    expect(Date.now() - began).toBeGreaterThanOrEqual(990);
    vi.restoreAllMocks();
    const fetch = answers(error(503, "SlowDown", { "Retry-After": "3600" }));
    expect(await refusal(upload())).toBeInstanceOf(S3Error);
    expect(callsOf(fetch)).toHaveLength(1);
  });

  test("that makes an object asks for encryption, and names the file for who downloads it", async () => {
    const kind = { contentType: "text/csv", fileName: "a.csv" };
    const begun = "<UploadId>u</UploadId>";
    const fetch = answers(
      () => new Response(begun),
      () => new Response(),
    );
    await s3.createUpload("key", kind);
    await s3.putObject("key", "text", kind);
    const sent = callsOf(fetch).map(([input]) => (input as Request).headers);
    expect(sent).toHaveLength(2);
    for (const headers of sent) {
      expect(headers.get("x-amz-server-side-encryption")).toBe("AES256");
      expect(headers.get("Content-Disposition")).toBe('attachment; filename="a.csv"');
      expect(headers.get("Content-Type")).toBe("text/csv");
      expect(headers.get("Authorization")).toContain("x-amz-server-side-encryption");
    }
  });

  test("to complete an upload is tried once: after a lost answer the next would say that it is gone", async () => {
    const fetch = answers(error(503, "SlowDown"));
    await refusal(s3.completeUpload("key", "upload", [{ number: 1, etag: '"e"' }]));
    expect(callsOf(fetch)).toHaveLength(1);
  });

  test("to complete an upload has failed where its answer is 200 and ends before it says so", async () => {
    answers(() => new Response("<?xml version='1.0'?>\n   \n"));
    const asked = s3.completeUpload("key", "upload", [{ number: 1, etag: '"e"' }]);
    expect(await refusal(asked)).toMatchObject({ name: "S3Error", isPassing: true });
  });
});
