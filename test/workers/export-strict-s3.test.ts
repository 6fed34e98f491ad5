import { afterAll, describe, expect, inject, test } from "vitest";
import { AwsClient } from "aws4fetch";
import { connectS3, type S3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import { streamedBody } from "../../consumers/exporter/streamed-body.ts";
import { exportManifest } from "../../events/export-manifest.ts";
import type { Client } from "../journeys/api.ts";
import {
  expectedText,
  expireLease,
  largeExport,
  removeLargeLogs,
  sendAgain,
  stateOf,
  textOf,
  toolsOf,
  uploadOf,
  waitFor,
  work,
  workUntilOver,
} from "./export-steps.ts";
import { rowsOf } from "./database.ts";
import { sql } from "drizzle-orm";
import { withStrictS3 } from "../tools/strict-bucket.ts";
import { sqsConfig } from "./queues.ts";

const strict = inject("strictS3");
const missing = "missing" in strict ? strict.missing : "";
const config =
  "missing" in strict
    ? { endpoint: "", region: "", accessKeyId: "", secretAccessKey: "", bucket: "" }
    : strict;
const s3 = connectS3(config, { retryMs: 10, bodyOf: streamedBody });

const variables = withStrictS3({ SQS_ENDPOINT: sqsConfig.endpoint }, config);

afterAll(removeLargeLogs);

async function expectWholeFile(caller: Client, id: string, attempt = 1): Promise<void> {
  const done = await stateOf(caller, id);
  expect(done).toMatchObject({ status: "DONE", rows_exported: 60, attempt });
  const text = await expectedText(id);
  expect(await textOf(done.file_url)).toBe(text);
  const manifest = exportManifest.parse(await (await fetch(String(done.manifest_url))).json());
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  for (const part of manifest.parts) {
    const digest = await crypto.subtle.digest("SHA-256", bytes.slice(at, at + part.bytes));
    expect(new Uint8Array(digest).toHex()).toBe(part.sha256);
    at += part.bytes;
  }
  expect(at).toBe(bytes.length);
}

/** Nothing may be left of it but the file and its manifest. */
async function keysUnder(id: string): Promise<string[]> {
  const { tenant_id: tenant } = (
    await rowsOf(sql`select tenant_id from export_pipelines where id = ${id}`)
  )[0] ?? { tenant_id: "" };
  const aws = new AwsClient({ ...config, service: "s3", retries: 0 });
  const url = `${config.endpoint}/${config.bucket}?list-type=2&prefix=${tenant}/${id}`;
  const text = await (await aws.fetch(url)).text();
  return [...text.matchAll(/<Key>([^<]*)<\/Key>/g)].map((found) => found[1] ?? "");
}

describe.skipIf(missing !== "")(`an export to a strict S3 (skipped: ${missing})`, () => {
  test("is signed as S3 asks for, has there the parts of its checkpoint, and leaves no upload open", async () => {
    const { url, caller, id } = await largeExport(variables);
    const tools = toolsOf(url, { s3, sliceMs: 0 });
    await work(url, tools);
    await work(url, tools);
    const { key, uploadId } = await uploadOf(id);
    expect(await s3.openUploads(key)).toEqual([uploadId]);
    const kept = await rowsOf(
      sql`select part_number, etag, bytes from export_parts where export_id = ${id} order by 1`,
    );
    expect(kept).toHaveLength(2);
    expect(await s3.listParts(key, uploadId)).toEqual(
      kept.map((part) => ({
        number: part["part_number"],
        etag: part["etag"],
        bytes: Number(part["bytes"]),
      })),
    );
    await workUntilOver(url, tools, caller, id);
    await expectWholeFile(caller, id);
    expect(await s3.openUploads(key)).toEqual([]);
    expect(await keysUnder(id)).toEqual([key, `${key}.manifest.json`]);
    const file = await fetch(String((await stateOf(caller, id)).file_url), {
      headers: { Range: "bytes=0-1" },
    });
    expect(file.headers.get("Content-Disposition")).toMatch(
      /^attachment; filename="audit-logs-\d{8}T\d{6}Z\.csv"$/,
    );
    expect(file.headers.get("Content-Type")).toBe("text/csv; charset=utf-8");
  });

  test("with a wrong secret fails with a sentence that names the bucket and S3's code", async () => {
    const { url, caller, id } = await largeExport(variables);
    const stranger = connectS3(
      { ...config, secretAccessKey: "another" },
      { retryMs: 10, bodyOf: streamedBody },
    );
    expect(await work(url, toolsOf(url, { s3: stranger }))).toBe("dead-letter");
    expect(await stateOf(caller, id)).toMatchObject({
      status: "FAILED",
      error: {
        code: "storage_refused",
        message: expect.stringMatching(/strict-exports.*SignatureDoesNotMatch/),
      },
    });
    await caller.call("POST", `/api/v1/logs/export/${id}/retry`);
    await workUntilOver(url, toolsOf(url, { s3 }), caller, id);
    await expectWholeFile(caller, id, 2);
  });

  test("ends also the upload that a lost answer left behind", async () => {
    const { url, caller, id } = await largeExport(variables);
    const losing: S3 = {
      ...s3,
      async createUpload(...asked) {
        await s3.createUpload(...asked);
        return s3.createUpload(...asked);
      },
    };
    await work(url, toolsOf(url, { s3: losing, sliceMs: 0 }));
    const { key } = await uploadOf(id);
    expect(await s3.openUploads(key)).toHaveLength(2);
    await workUntilOver(url, toolsOf(url, { s3: losing }), caller, id);
    await expectWholeFile(caller, id);
    expect(await s3.openUploads(key)).toEqual([]);
  });

  test("makes again the part that a late exporter has overwritten, and not the whole file", async () => {
    const { url, caller, id } = await largeExport(variables);
    const tools = toolsOf(url, { s3, sliceMs: 0 });
    await work(url, tools);
    await work(url, tools);
    const { key, uploadId } = await uploadOf(id);
    const other = new Uint8Array(6 * 1024 * 1024);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", other)).toHex();
    await s3.uploadPart(key, uploadId, 2, other, digest);
    const uploaded: number[] = [];
    const counting: S3 = {
      ...s3,
      uploadPart(...sent) {
        uploaded.push(sent[2]);
        return s3.uploadPart(...sent);
      },
    };
    await workUntilOver(url, toolsOf(url, { s3: counting }), caller, id);
    await expectWholeFile(caller, id);
    expect(uploaded).toEqual([3, 2]);
  });

  test("of which a compressed part was made again, says the bytes that its file has", async () => {
    const { url, caller, id } = await largeExport(variables, { compression: "gzip" }, 24);
    // Put aside again and again, its part is many members; made again it is one, and shorter.
    const tools = toolsOf(url, { s3, sliceMs: 0, graceMs: 0 });
    let isOver = false;
    const overwriting: S3 = {
      ...s3,
      async completeUpload(key, uploadId, parts) {
        const other = new Uint8Array(6 * 1024 * 1024);
        const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", other)).toHex();
        if (!isOver) await s3.uploadPart(key, uploadId, 1, other, digest);
        isOver = true;
        return s3.completeUpload(key, uploadId, parts);
      },
    };
    const done = await workUntilOver(url, { ...tools, s3: overwriting }, caller, id);
    const manifest = exportManifest.parse(await (await fetch(String(done.manifest_url))).json());
    expect((await s3.head((await uploadOf(id)).key))?.bytes).toBe(manifest.bytes);
    expect(done).toMatchObject({ status: "DONE", attempt: 1, bytes: manifest.bytes });
  });

  test("cancelled in the middle, leaves nothing", async () => {
    const { url, caller, id } = await largeExport(variables);
    await work(url, toolsOf(url, { s3, sliceMs: 0 }));
    await work(url, toolsOf(url, { s3, sliceMs: 0, graceMs: 0 }));
    const { key, uploadId } = await uploadOf(id);
    expect(await s3.openUploads(key)).toEqual([uploadId]);
    expect(await keysUnder(id)).toEqual([`${key}.tail`]);
    await caller.call("DELETE", `/api/v1/logs/export/${id}`);
    expect(await s3.openUploads(key)).toEqual([]);
    expect(await keysUnder(id)).toEqual([]);
  });

  test("is the file of the exporter that completed it, when another completes it as well", async () => {
    const { url, caller, id } = await largeExport(variables);
    let completed = 0;
    const dying: S3 = {
      ...s3,
      async completeUpload(...sent) {
        await s3.completeUpload(...sent);
        completed++;
        return new Promise(() => {});
      },
    };
    void work(url, toolsOf(url, { s3: dying }));
    await waitFor(async () => completed === 1);
    await expireLease(id);
    await sendAgain(url, caller, id);
    await workUntilOver(url, toolsOf(url, { s3 }), caller, id);
    await expectWholeFile(caller, id);
  });
});

describe.skipIf(missing !== "")(`a strict S3 (skipped: ${missing})`, () => {
  const kind = { contentType: "text/plain", fileName: "a.txt" };

  async function refusal(asked: Promise<unknown>): Promise<string> {
    const error = await asked.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    return error instanceof S3Error ? error.code : `not refused: ${String(error)}`;
  }

  test("does not take a part whose bytes are not those of its digest", async () => {
    const key = `refused/${crypto.randomUUID()}`;
    const uploadId = await s3.createUpload(key, kind);
    const sent = s3.uploadPart(key, uploadId, 1, new Uint8Array(10), "0".repeat(64));
    expect(await refusal(sent)).toBe("XAmzContentSHA256Mismatch");
    await s3.abortUpload(key, uploadId);
  });

  test("gives a file by its link until the link expires, and not without one", async () => {
    const key = `links/${crypto.randomUUID()}/naïve & "odd" name.txt`;
    await s3.putObject(key, "text", kind);
    const link = await s3.presignGet(key, 2);
    expect(await (await fetch(link)).text()).toBe("text");
    expect((await fetch(link.replace(/X-Amz-Expires=2/, "X-Amz-Expires=9"))).status).toBe(403);
    expect((await fetch(link.split("?")[0] ?? "")).status).toBe(403);
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    expect((await fetch(link)).status).toBe(403);
    expect(new TextDecoder().decode(await s3.getObject(key))).toBe("text");
    await s3.deleteObject(key);
    expect(await s3.getObject(key)).toBeUndefined();
  });

  test("lists the parts of an upload page by page", async () => {
    const key = `pages/${crypto.randomUUID()}`;
    const uploadId = await s3.createUpload(key, kind);
    const byte = new Uint8Array(1);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", byte)).toHex();
    const numbers = Array.from({ length: 1_003 }, (_, n) => n + 1);
    // As many at once as a Worker has connections.
    for (let n = 0; n < numbers.length; n += 6)
      await Promise.all(
        numbers.slice(n, n + 6).map((number) => s3.uploadPart(key, uploadId, number, byte, digest)),
      );
    const parts = await s3.listParts(key, uploadId);
    expect(parts.map((part) => part.number)).toEqual(numbers);
    expect(await refusal(s3.completeUpload(key, uploadId, parts))).toBe("EntityTooSmall");
    await s3.abortUpload(key, uploadId);
    expect(await s3.openUploads(key)).toEqual([]);
  });
});
