import { errors } from "@opensearch-project/opensearch";
import { expect, test } from "vitest";
import { S3Error } from "../../aws/s3-answers.ts";
import { DatabaseUnavailable } from "../../db/client.ts";
import { ExportRefused, failureOf, UploadGone } from "./export-errors.ts";

test.each<[unknown, string, boolean]>([
  [new ExportRefused("too_large", "Narrow it."), "too_large", false],
  [new UploadGone("NoSuchUpload"), "storage_refused", false],
  [new S3Error("denied", "AccessDenied", 403), "storage_refused", false],
  [new S3Error("missing", "NoSuchBucket", 404), "storage_refused", false],
  [new S3Error("slow down", "SlowDown", 503), "storage_unavailable", true],
  [new S3Error("no answer", "NoAnswer"), "storage_unavailable", true],
  [new DatabaseUnavailable(new Error("gone")), "database_unavailable", true],
  [new errors.ConnectionError("gone"), "search_unavailable", true],
  [new Error("column session_id does not exist"), "internal", true],
  ["not even an error", "internal", true],
])("%s means %s", (error, code, isPassing) => {
  const failure = failureOf(error, "my-bucket");
  expect(failure).toMatchObject({ code, isPassing });
  expect(failure.message).toMatch(/\.$/);
  expect(failure.message).not.toContain("session_id");
});

test("a failure of the bucket names it, with S3's own code", () => {
  const { message } = failureOf(new S3Error("denied", "AccessDenied", 403), "my-bucket");
  expect(message).toContain("my-bucket");
  expect(message).toContain("AccessDenied");
});
