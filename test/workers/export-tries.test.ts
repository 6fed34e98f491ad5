import { sql } from "drizzle-orm";
import { describe, expect, test, vi } from "vitest";
import { connectS3, type S3 } from "../../aws/s3.ts";
import { S3Error } from "../../aws/s3-answers.ts";
import { exportMessage } from "../../consumers/exporter/export-message.ts";
import { firstIdAt } from "../../events/ids.ts";
import { rowsOf } from "./database.ts";
import {
  expectedText,
  expireLease,
  largeExport,
  realS3,
  s3Config,
  sendAgain,
  stateOf,
  textOf,
  toolsOf,
  uploadOf,
  work,
  workUntilOver,
} from "./export-steps.ts";
import { sqs } from "./queues.ts";

const slowDown = () => Promise.reject(new S3Error("slow down", "SlowDown", 503));
const refusing: S3 = { ...realS3, createUpload: slowDown };

/** The message of an export, as it is at its nth receive. */
async function received(url: string, receiveCount: number) {
  const [message] = await sqs.receive(url, 60, 1);
  if (!message) throw new Error("There is no message.");
  return { ...message, receiveCount };
}

describe("the message of an export", () => {
  test("is left to the sweep before SQS takes it for poisoned, while the export has tries left", async () => {
    const { url, caller, id } = await largeExport({}, {}, 4);
    const message = await received(url, 5);
    expect(await exportMessage(message, toolsOf(url, { s3: refusing }))).toMatchObject({
      to: "delete",
    });
    await sqs.delete(url, [message]);
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", error: null });
    await sendAgain(url, caller, id);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("is buried though who failed the export died before that", async () => {
    const { url, caller, id } = await largeExport({}, {}, 4);
    const elsewhere = connectS3({ ...s3Config, bucket: "no-such-bucket" }, { retryMs: 10 });
    const tools = toolsOf(url, { s3: elsewhere });
    await exportMessage(await received(url, 1), tools);
    const { error } = await stateOf(caller, id);
    await sendAgain(url, caller, id);
    expect(await exportMessage(await received(url, 2), tools)).toMatchObject({
      to: "dead-letter",
      reason: (error as { message: string }).message,
    });
    // Another one for the same export is not wanted there, nor one that could not be buried so far.
    for (const receiveCount of [1, 5]) {
      await sendAgain(url, caller, id);
      const outcome = await exportMessage(await received(url, receiveCount), tools);
      expect(outcome).toMatchObject({ to: "delete" });
    }
  });
});

describe("the exporter", () => {
  test("does not count a try as one without progress that has made a part before it failed", async () => {
    const { url, caller, id } = await largeExport();
    await rowsOf(sql`update export_pipelines set tries = 4 where id = ${id}`);
    let uploads = 0;
    const failing: S3 = {
      ...realS3,
      uploadPart: (...sent) => (++uploads === 1 ? realS3.uploadPart(...sent) : slowDown()),
    };
    await work(url, toolsOf(url, { s3: failing }));
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", parts: 1 });
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE", attempt: 1, parts: 3 });
    expect(await textOf(done.file_url)).toBe(await expectedText(id));
  });

  test("that is overtaken removes what it puts aside once the other has finished", async () => {
    const { url, caller, id } = await largeExport();
    const reached = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    const slow: S3 = {
      ...realS3,
      async putObject(...sent) {
        reached.resolve();
        await gate.promise;
        await realS3.putObject(...sent);
      },
    };
    const first = work(url, toolsOf(url, { s3: slow, sliceMs: 0, graceMs: 0 }));
    await reached.promise;
    await expireLease(id);
    await sendAgain(url, caller, id);
    const done = await workUntilOver(url, toolsOf(url), caller, id);
    expect(done).toMatchObject({ status: "DONE" });
    gate.resolve();
    expect(await first).toBe("delete");
    const { key } = await uploadOf(id);
    expect(await realS3.head(key)).toBeDefined();
    expect(await realS3.head(`${key}.tail`)).toBeUndefined();
  });

  test("asks seldom, and not for long, whether what was stored before the export is there", async () => {
    const { url, caller, id } = await largeExport({}, {}, 4);
    const never = firstIdAt(Date.now() + 3_600_000);
    await rowsOf(sql`update export_pipelines set upper_id = ${never} where id = ${id}`);
    const sent = globalThis.fetch;
    let asked = 0;
    vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
      if (String(init?.body).includes("safe_time()")) asked++;
      return sent(input, init);
    });
    const spent = { requests: 0 };
    const began = Date.now();
    expect(await work(url, toolsOf(url, { spent }))).toBe("delete");
    vi.restoreAllMocks();
    expect(Date.now() - began).toBeLessThan(6_000);
    expect(asked).toBeGreaterThan(1);
    expect(asked).toBeLessThan(8);
    expect(spent.requests).toBeGreaterThanOrEqual(asked);
    expect(await stateOf(caller, id)).toMatchObject({ status: "IN_PROGRESS", rows_total: null });
  });
});
