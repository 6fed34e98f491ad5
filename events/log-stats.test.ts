import { expect, test } from "vitest";
import { timelineUnit } from "./log-stats.ts";

const day = 24 * 60 * 60 * 1000;
const now = Date.UTC(2026, 0, 31);

test.each([
  [1, "hour"],
  [4 * day, "hour"],
  [4 * day + 1, "day"],
  [100 * day, "day"],
  [100 * day + 1, "month"],
  [3650 * day, "month"],
] as const)("a timeline of %d ms is by the %s", (span, unit) => {
  expect(timelineUnit({ from: now - span, to: now })).toBe(unit);
});

test("a timeline without an end goes to now, and one without a beginning is by the month", () => {
  expect(timelineUnit({ from: Date.now() - 3 * day, to: null })).toBe("hour");
  expect(timelineUnit({ from: Date.now() - 5 * day, to: null })).toBe("day");
  expect(timelineUnit({ from: null, to: now })).toBe("month");
  expect(timelineUnit({ from: null, to: null })).toBe("month");
});
