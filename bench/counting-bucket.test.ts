import { afterAll, expect, test } from "vitest";
import { connectS3 } from "../aws/s3.ts";
import { startCountingBucket } from "./counting-bucket.ts";

const bucket = await startCountingBucket();
afterAll(() => bucket.stop());
const s3 = connectS3({
  endpoint: bucket.url,
  bucket: "exports",
  region: "eu-west-1",
  accessKeyId: "a",
  secretAccessKey: "b",
});
const kind = { contentType: "text/csv", fileName: "x.csv" };
const sha256 = "5".repeat(64);

test("counts the bytes of a file that is put in parts", async () => {
  const upload = await s3.createUpload("t/e/x.csv", kind);
  const parts = [];
  for (const number of [1, 2]) {
    const body = new Uint8Array(number * 1_000_000);
    parts.push({ number, etag: await s3.uploadPart("t/e/x.csv", upload, number, body, sha256) });
  }
  await s3.completeUpload("t/e/x.csv", upload, parts);
  expect(await s3.head("t/e/x.csv")).toMatchObject({ bytes: 3_000_000 });
  await expect(s3.uploadPart("t/e/x.csv", upload, 3, new Uint8Array(1), sha256)).rejects.toThrow(
    "NoSuchUpload",
  );
});

test("gives back what is put in one piece, until it is deleted", async () => {
  await s3.putObject("t/e/tail", "some rows", kind);
  expect(new TextDecoder().decode(await s3.getObject("t/e/tail"))).toBe("some rows");
  await s3.deleteObject("t/e/tail");
  expect(await s3.getObject("t/e/tail")).toBeUndefined();
});
