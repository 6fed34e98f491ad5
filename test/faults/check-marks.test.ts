import { expect, test } from "vitest";
import { firstIdAt } from "../../events/ids.ts";
import { checkMarks } from "./check-marks.ts";

const late = [{ tenant: "acme", logId: firstIdAt(1000), uncommittedAt: 3000 }];
const broken = (tenant: string, through: number, at: number) =>
  checkMarks([{ tenant, through, at }], late).broken.length;

test("a mark must not pass a log before it is committed", () => {
  expect(broken("acme", 1001, 2999)).toBe(1);
});

test("a mark may reach up to a log that is not committed, and past it afterwards", () => {
  expect(broken("acme", 1000, 2999)).toBe(0);
  expect(broken("acme", 5000, 3000)).toBe(0);
});

test("a mark is of one tenant", () => {
  expect(broken("globex", 5000, 2000)).toBe(0);
});
