import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { firstIdAt, idMonth, idTime, isUuid } from "./ids.ts";

const lastMs = 2 ** 48 - 1;
const anyMs = fc.integer({ min: 0, max: lastMs });

test("an id's time and the first id of that time say the same", () => {
  fc.assert(
    fc.property(anyMs, (ms) => {
      expect(idTime(firstIdAt(ms))).toBe(ms);
      expect(isUuid(firstIdAt(ms))).toBe(true);
    }),
  );
});

test("first ids have the order of their times, and every id of a millisecond lies between two", () => {
  fc.assert(
    fc.property(anyMs, fc.uuid({ version: 7 }), (ms, uuid) => {
      const id = firstIdAt(ms).slice(0, 13) + uuid.slice(13);
      expect(firstIdAt(ms) < id && id < firstIdAt(ms + 1)).toBe(ms < lastMs);
    }),
  );
});

test("a time is read from the first 48 bits of an id", () => {
  // The example of RFC 9562, appendix A.6.
  expect(idTime("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")).toBe(Date.UTC(2022, 1, 22, 19, 22, 22));
});

test("a time out of range has the nearest bound", () => {
  expect(firstIdAt(-1)).toBe("00000000-0000-0000-0000-000000000000");
  expect(firstIdAt(1.9)).toBe(firstIdAt(1));
  expect(firstIdAt(Number.MAX_SAFE_INTEGER)).toBe("ffffffff-ffff-0000-0000-000000000000");
  expect(firstIdAt(Number.POSITIVE_INFINITY)).toBe("ffffffff-ffff-0000-0000-000000000000");
});

test("a month begins and ends in UTC", () => {
  expect(idMonth(firstIdAt(Date.UTC(2026, 10, 1)))).toBe("2026.11");
  expect(idMonth(firstIdAt(Date.UTC(2026, 10, 1) - 1))).toBe("2026.10");
  expect(idMonth(firstIdAt(0))).toBe("1970.01");
});

describe("isUuid", () => {
  test("takes every UUID, in any letter case", () => {
    fc.assert(
      fc.property(fc.uuid(), (id) => {
        expect(isUuid(id) && isUuid(id.toUpperCase())).toBe(true);
      }),
    );
  });

  test.each([
    "",
    "0198c0de-0000-7000-8000-00000000000",
    "0198c0de-0000-7000-8000-0000000000000",
    "0198c0de00007000800000000000000000",
    "g198c0de-0000-7000-8000-000000000000",
    "{0198c0de-0000-7000-8000-000000000000}",
    "0198c0de-0000-7000-8000-000000000000\n",
    "0198c0de-0000-7000-8000-000000000000' or 1=1",
    "٠198c0de-0000-7000-8000-000000000000",
  ])("refuses %j", (text) => {
    expect(isUuid(text)).toBe(false);
  });
});
