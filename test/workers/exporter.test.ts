import { afterAll, describe, expect, test, vi } from "vitest";
import { connectS3, type S3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import { exportMessage } from "../../consumers/exporter/export-message.ts";
import {
  expectedText,
  expireLease,
  largeExport,
  realS3,
  removeLargeLogs,
  s3Config,
  sendAgain,
  stateOf,
  textOf,
  toolsOf,
  uploadOf,
  waitFor,
  work,
  workUntilOver,
} from "./export-steps.ts";
import { nowhere, workerEnv } from "./tools.ts";

afterAll(removeLargeLogs);

describe("the exporter", () => {
  test("goes on slice by slice from its checkpoint, in parts of whole rows", async () => {
    const { url, caller, id } = await largeExport();
    const tools = toolsOf(url, { sliceMs: 0 });
    expect(await work(url, tools)).toBe("delete");
    const early = await stateOf(caller, id);
    expect(early).toMatchObject({
      status: "IN_PROGRESS",
      parts: 1,
      rows_total: 60,
      file_url: null,
    });
    expect(Number(early["progress"])).toBeGreaterThan(0.2);
    const done = await workUntilOver(url, tools, caller, id);
    expect(done).toMatchObject({ status: "DONE", parts: 3, rows_exported: 60, progress: 1 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("ends exactly at a part's edge without an empty part", async () => {
    const { url, caller, id } = await largeExport({}, {}, 52);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", parts: 2, rows_exported: 52 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("reads its rows from the replica where there is one, and from the primary where that does not answer", async () => {
    const endpoint = workerEnv["NEON_FETCH_ENDPOINT"] ?? "";
    const url = new URL(workerEnv["DATABASE_URL"] ?? "");
    // The primary by another name, which is as good as a replica that has replayed everything.
    url.hostname = "localhost";
    for (const fetchEndpoint of [endpoint, nowhere]) {
      const read: string[] = [];
      const sent = globalThis.fetch;
      vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
        const connection = new Headers(init?.headers).get("Neon-Connection-String") ?? "";
        if (String(init?.body).includes(") as chunk")) read.push(new URL(connection).hostname);
        return sent(input, init);
      });
      const { url: queue, caller, id } = await largeExport({}, {}, 4);
      const replica = { url: url.href, fetchEndpoint };
      const done = await workUntilOver(queue, toolsOf(queue, { replica }), caller, id);
      vi.restoreAllMocks();
      expect(await textOf(done.file_url)).toBe(await expectedText(id));
      const expected = fetchEndpoint === endpoint ? "localhost" : "127.0.0.1";
      expect(new Set(read)).toEqual(new Set([expected]));
    }
  });

  test("killed in the middle of a part, is gone on with by another, and the bytes are the same", async () => {
    const { url, caller, id } = await largeExport();
    let uploads = 0;
    const dying: S3 = {
      ...realS3,
      // What dies neither answers nor cleans up.
      uploadPart: (...sent) =>
        ++uploads === 2 ? new Promise(() => {}) : realS3.uploadPart(...sent),
    };
    void work(url, toolsOf(url, { s3: dying }));
    await waitFor(async () => uploads === 2);
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", parts: 1 });
    await expireLease(id);
    await sendAgain(url, caller, id);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", parts: 3 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("overtaken by another, changes nothing any more when it wakes up", async () => {
    const { url, caller, id } = await largeExport();
    const gate = Promise.withResolvers<void>();
    let uploads = 0;
    const slow: S3 = {
      ...realS3,
      async uploadPart(...sent) {
        if (++uploads === 2) await gate.promise;
        return realS3.uploadPart(...sent);
      },
    };
    const first = work(url, toolsOf(url, { s3: slow }));
    await waitFor(async () => uploads === 2);
    await expireLease(id);
    await sendAgain(url, caller, id);
    // The other one holds the export now, and is still at it.
    expect(await work(url, toolsOf(url, { sliceMs: 0 }))).toBe("delete");
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", parts: 2 });
    gate.resolve();
    expect(await first).toBe("delete");
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", parts: 2 });
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", parts: 3, rows_exported: 60 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("delivered twice at once, exports once", async () => {
    const { url, caller, id } = await largeExport();
    await sendAgain(url, caller, id);
    await Promise.all([work(url, toolsOf(url)), work(url, toolsOf(url))]);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", parts: 3, rows_exported: 60 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("starts over under another name where S3 has lost the upload", async () => {
    const { url, caller, id } = await largeExport();
    const tools = toolsOf(url, { sliceMs: 0 });
    await work(url, tools);
    const { key, uploadId } = await uploadOf(id);
    await realS3.abortUpload(key, uploadId);
    const done = await workUntilOver(url, tools, caller, id);
    expect(done).toMatchObject({ status: "DONE", attempt: 2, rows_exported: 60 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("is done where the answer of Complete was lost", async () => {
    const { url, caller, id } = await largeExport();
    let isLost = false;
    const losing: S3 = {
      ...realS3,
      async completeUpload(...sent) {
        await realS3.completeUpload(...sent);
        if (isLost) return;
        isLost = true;
        throw new S3Error("the answer was lost", "NoAnswer");
      },
    };
    const done = await workUntilOver(url, toolsOf(url, { s3: losing }), caller, id);
    expect([isLost, done.status]).toEqual([true, "DONE"]);
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("fails where the bucket is missing, names it, and is retried when that is mended", async () => {
    const { url, caller, id } = await largeExport();
    const elsewhere = connectS3({ ...s3Config, bucket: "no-such-bucket" }, { retryMs: 10 });
    expect(await work(url, toolsOf(url, { s3: elsewhere }))).toBe("dead-letter");
    const failed = await stateOf(caller, id);
    expect(failed).toMatchObject({ status: "FAILED", error: { code: "storage_refused" } });
    expect(JSON.stringify(failed["error"])).toContain("no-such-bucket");
    expect(JSON.stringify(failed["error"])).toContain("NoSuchBucket");
    expect((await caller.call("POST", `/api/v1/logs/export/${id}/retry`)).status).toBe(202);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("gives up after five tries without progress, keeps its checkpoint, and goes on from there", async () => {
    const { url, caller, id } = await largeExport();
    await work(url, toolsOf(url, { sliceMs: 0 }));
    const refusing: S3 = {
      ...realS3,
      uploadPart: () => Promise.reject(new S3Error("slow down", "SlowDown", 503)),
    };
    const failed = await workUntilOver(url, toolsOf(url, { s3: refusing }), caller, id);
    expect(failed).toMatchObject({
      status: "FAILED",
      parts: 1,
      error: { code: "storage_unavailable" },
    });
    await caller.call("POST", `/api/v1/logs/export/${id}/retry`);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", attempt: 1, parts: 3 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("cancelled in the middle, leaves neither an upload nor a file", async () => {
    const { url, caller, id } = await largeExport();
    const tools = toolsOf(url, { sliceMs: 0 });
    await work(url, tools);
    const { key, uploadId: upload } = await uploadOf(id);
    expect((await caller.call("DELETE", `/api/v1/logs/export/${id}`)).status).toBe(200);
    expect(await work(url, tools)).toBe("delete");
    expect(await stateOf(caller, id)).toMatchObject({ status: "CANCELLED", file_url: null });
    expect(await realS3.head(key)).toBeUndefined();
    await expect(realS3.uploadPart(key, upload, 1, new Uint8Array(1), "00")).rejects.toThrow(
      S3Error,
    );
  });

  test("cancelled after its file was made and before it was said, leaves no file", async () => {
    const { url, caller, id } = await largeExport();
    let completed = 0;
    const dying: S3 = {
      ...realS3,
      async completeUpload(...sent) {
        await realS3.completeUpload(...sent);
        completed++;
        return new Promise(() => {});
      },
    };
    void work(url, toolsOf(url, { s3: dying }));
    await waitFor(async () => completed === 1);
    const { key } = await uploadOf(id);
    expect(await realS3.head(key)).toBeDefined();
    expect((await caller.call("DELETE", `/api/v1/logs/export/${id}`)).status).toBe(200);
    expect(await realS3.head(key)).toBeUndefined();
  });

  test("cancelled while it writes the manifest, and dead then, is cleaned up behind when its message comes again", async () => {
    const { url, caller, id } = await largeExport();
    const reached = Promise.withResolvers<void>();
    const cancelled = Promise.withResolvers<void>();
    const dying: S3 = {
      ...realS3,
      async putObject(...sent) {
        reached.resolve();
        await cancelled.promise;
        await realS3.putObject(...sent);
        return new Promise(() => {});
      },
    };
    void work(url, toolsOf(url, { s3: dying }));
    await reached.promise;
    const { key } = await uploadOf(id);
    await caller.call("DELETE", `/api/v1/logs/export/${id}`);
    cancelled.resolve();
    await waitFor(async () => (await realS3.head(`${key}.manifest.json`)) !== undefined);
    await sendAgain(url, caller, id);
    expect(await work(url, toolsOf(url))).toBe("delete");
    expect(await realS3.head(key)).toBeUndefined();
    expect(await realS3.head(`${key}.manifest.json`)).toBeUndefined();
  });

  test.each(["none", "gzip"])(
    "with compression %s puts an unfinished part aside at the end of a slice, and goes on with it",
    async (compression) => {
      const { url, caller, id } = await largeExport({}, { compression });
      const tools = toolsOf(url, { sliceMs: 0, graceMs: 0 });
      expect(await work(url, tools)).toBe("delete");
      const early = await stateOf(caller, id);
      expect(early).toMatchObject({ status: "IN_PROGRESS", parts: 0 });
      const { key } = await uploadOf(id);
      expect(await realS3.head(`${key}.tail`)).toBeDefined();
      const done = await workUntilOver(url, tools, caller, id);
      expect(done).toMatchObject({ status: "DONE", attempt: 1, rows_exported: 60 });
      expect(await textOf(done.file_url, compression)).toBe(await expectedText(id));
      expect(await realS3.head(`${key}.tail`)).toBeUndefined();
    },
  );

  test("does without what was put aside where another has overwritten it", async () => {
    const { url, caller, id } = await largeExport();
    const tools = toolsOf(url, { sliceMs: 0, graceMs: 0 });
    await work(url, tools);
    const { key } = await uploadOf(id);
    const kind = { contentType: "text/plain", fileName: "x" };
    await realS3.putObject(`${key}.tail`, "of an exporter that was overtaken", kind);
    const done = await workUntilOver(url, tools, caller, id);
    expect(done).toMatchObject({ status: "DONE", rows_exported: 60 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test.each([
    "",
    "{}",
    JSON.stringify({
      v: 1,
      type: "export",
      tenant_id: "t",
      export_id: crypto.randomUUID(),
      request_id: "",
    }),
  ])("buries %j", async (body) => {
    const message = { messageId: "m", receiptHandle: "r", body, receiveCount: 1 };
    const outcome = await exportMessage(message, toolsOf(""));
    expect(outcome).toMatchObject({ to: "dead-letter", body });
  });
});
