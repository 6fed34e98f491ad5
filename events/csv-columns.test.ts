import { expect, test } from "vitest";
import { auditLogSchema } from "./audit-log-answer.ts";
import { csvHeader, exportColumns } from "./csv-columns.ts";

test("the columns of an export are the fields that an answer gives, in the same order", () => {
  expect([...exportColumns]).toEqual(Object.keys(auditLogSchema.shape));
});

test("a CSV file names its columns first, without a byte order mark", () => {
  expect(csvHeader(["id", "action"])).toBe("id,action\r\n");
});
