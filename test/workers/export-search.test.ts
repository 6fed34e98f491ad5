import { expect, test } from "vitest";
import { callerOf, newTenant } from "../journeys/api.ts";
import { exported } from "./export-calls.ts";
import { workers } from "./tools.ts";

/** More words than the index looks at, all before `deleted`. */
const words = Array.from({ length: 1_200 }, (_, n) => `d${String(n).padStart(7, "0")}`);

test("an export finds a prefix behind other words, however many words of others begin so", async () => {
  const other = callerOf(workers, { tenant_id: newTenant() });
  const caller = callerOf(workers, { tenant_id: newTenant() });
  await other.create({ metadata: { words: words.join(" ") } });
  await caller.createAll([
    { resource_id: "1", description: "a report.Deleted by hand" },
    { resource_id: "2", description: "a report was deleted" },
    { resource_id: "3", description: "report.deleted", metadata: { kind: "draft" } },
  ]);
  await other.settled();
  await caller.settled();
  const found = async (search: string) => {
    const filters = { search, resource_type: "document" };
    const { text } = await exported(caller, { columns: ["resource_id"], filters });
    return text.split("\r\n").slice(1, -1).join("");
  };
  expect(await found("report.d*")).toBe("13");
  expect(await found("report.d* -draft")).toBe("1");
  expect(await found("-report.d*")).toBe("2");
  expect(await found("del*")).toBe("123");
});
