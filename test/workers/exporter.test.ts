import { sql } from "drizzle-orm";
import { describe, expect, test } from "vitest";
import { connectS3, type S3, S3Error } from "../../aws/s3.ts";
import { exportMessage, type ExportTools } from "../../consumers/exporter/export-message.ts";
import type { Outcome } from "../../consumers/settle-messages.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { createLogger } from "../../platform/logger.ts";
import { callerOf, type Client, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { exportAnswer, start } from "./export-calls.ts";
import { newQueue, sqs } from "./queues.ts";
import { workerEnv, workersWith } from "./tools.ts";

const s3Config = requireSection(parseConfig(workerEnv), "s3");
const realS3 = connectS3(s3Config, 10);

/** An export of three parts of 5 MiB and more, on a queue that only the test reads. */
async function largeExport() {
  const { url, deadLetters } = await newQueue();
  const caller = callerOf(workersWith({ SQS_EXPORT_QUEUE_URL: url }), { tenant_id: newTenant() });
  const text = "0123456789abcdef".repeat(13_000);
  for (let n = 0; n < 4; n++) {
    await caller.createAll(
      Array.from({ length: 15 }, (_, k) => ({ resource_id: `${n}-${k}`, metadata: { text } })),
    );
  }
  const { id } = await start(caller, { columns: ["id", "resource_id", "metadata"] });
  return { url, deadLetters, caller, id };
}

const toolsOf = (url: string, changes: Partial<ExportTools> = {}): ExportTools => ({
  db: ownerOf(),
  s3: realS3,
  sqs,
  queueUrl: url,
  search: undefined,
  logger: createLogger("test", "ERROR"),
  ...changes,
});

/** Takes one message and works on it; what becomes of the message is carried out. */
async function work(url: string, tools: ExportTools): Promise<Outcome["to"] | "none"> {
  const [message] = await sqs.receive(url, 60);
  if (!message) return "none";
  const { outcome } = await exportMessage(message, tools);
  if (outcome.to === "retry") await sqs.retryLater(url, [{ message, delaySeconds: 0 }]);
  else await sqs.delete(url, [message]);
  return outcome.to;
}

async function stateOf(caller: Client, id: string) {
  return exportAnswer.parse((await caller.get(`/api/v1/logs/export/${id}`)).body).data;
}

async function workUntilOver(url: string, tools: ExportTools, caller: Client, id: string) {
  for (let n = 0; n < 12; n++) {
    const state = await stateOf(caller, id);
    if (!["PENDING", "IN_PROGRESS"].includes(state.status)) return state;
    await work(url, tools);
  }
  throw new Error("The export was not over after 12 slices.");
}

const textOf = async (url: unknown) => (await fetch(String(url))).text();
const expireLease = (id: string) =>
  rowsOf(
    sql`update export_pipelines set lease_until = now() - interval '1 second' where id = ${id}`,
  );

/** What the file must be, from the database. */
async function expectedText(id: string): Promise<string> {
  const rows = await rowsOf(sql`
    select l.id, l.resource_id, l.metadata::text as metadata from audit_logs l
    join export_pipelines e on e.tenant_id = l.tenant_id where e.id = ${id} order by l.id`);
  const lines = rows.map(
    (row) =>
      `${row["id"]},${row["resource_id"]},"${String(row["metadata"]).replaceAll('"', '""')}"\r\n`,
  );
  return `id,resource_id,metadata\r\n${lines.join("")}`;
}

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
    const [row] = await rowsOf(
      sql`select object_key, upload_id from export_pipelines where id = ${id}`,
    );
    await realS3.abortUpload(String(row?.["object_key"]), String(row?.["upload_id"]));
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
    const elsewhere = connectS3({ ...s3Config, bucket: "no-such-bucket" }, 10);
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
    const [row] = await rowsOf(
      sql`select object_key, upload_id from export_pipelines where id = ${id}`,
    );
    const [key, upload] = [String(row?.["object_key"]), String(row?.["upload_id"])];
    expect((await caller.call("DELETE", `/api/v1/logs/export/${id}`)).status).toBe(200);
    expect(await work(url, tools)).toBe("delete");
    expect(await stateOf(caller, id)).toMatchObject({ status: "CANCELLED", file_url: null });
    expect(await realS3.head(key)).toBeUndefined();
    await expect(realS3.uploadPart(key, upload, 1, new Uint8Array(1), "00")).rejects.toThrow(
      S3Error,
    );
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
    const { outcome } = await exportMessage(message, toolsOf(""));
    expect(outcome).toMatchObject({ to: "dead-letter", body });
  });
});

async function waitFor(isSo: () => Promise<boolean>): Promise<void> {
  for (let n = 0; n < 100; n++) {
    if (await isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("It did not happen in 5 s.");
}

/** Another message for the export, as the sweep or a second delivery would bring it. */
async function sendAgain(url: string, caller: Client, id: string): Promise<void> {
  const { tenant_id: tenant } = await stateOf(caller, id);
  const body = JSON.stringify({
    v: 1,
    type: "export",
    tenant_id: tenant,
    export_id: id,
    request_id: "again",
  });
  await sqs.send(url, [{ body, groupId: "g" }]);
}
