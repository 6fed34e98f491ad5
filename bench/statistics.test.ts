import { describe, expect, test } from "vitest";
import { busyBetween, cpuSecondsIn } from "./process-cpu.ts";
import { compare, latencyOf, median, percentile, rateOf } from "./statistics.ts";

describe("a percentile", () => {
  const tens = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];

  test("is the nearest value that was measured, never one between two", () => {
    expect(percentile(tens, 0.5)).toBe(50);
    expect(percentile(tens, 0.51)).toBe(60);
    expect(percentile(tens, 0.95)).toBe(100);
    expect(percentile(tens, 1)).toBe(100);
  });

  test("of one value is that value", () => {
    expect(percentile([7], 0.01)).toBe(7);
    expect(percentile([7], 0.99)).toBe(7);
  });

  test("of the half is the one in the middle, whatever their order", () => {
    expect(median([30, 4, 200])).toBe(30);
    expect(median([30, 4])).toBe(4);
    expect(median([])).toBeNaN();
  });

  test("of nothing is undefined", () => {
    expect(percentile([], 0.5)).toBeUndefined();
    expect(latencyOf([])).toBeUndefined();
  });

  test("sorts as numbers, whatever the order they came in", () => {
    const times = Array.from({ length: 200 }, (_, n) => ((n * 37) % 200) + 1);
    expect(latencyOf(times)).toEqual({ p50: 100, p95: 190, p99: 198 });
  });
});

describe("a rate", () => {
  test("is of the window as it was, not as it was meant to be", () => {
    const rate = rateOf({ requests: 3_000, seconds: 1.5, cpuSeconds: 0.9 });
    expect(rate.perSecond).toBe(2_000);
    expect(rate.cpuMsPerRequest).toBeCloseTo(0.3);
  });

  test("has no CPU time where the system does not tell it, or nothing was answered", () => {
    expect(
      rateOf({ requests: 1, seconds: 1, cpuSeconds: undefined }).cpuMsPerRequest,
    ).toBeUndefined();
    expect(rateOf({ requests: 0, seconds: 1, cpuSeconds: 0.5 }).cpuMsPerRequest).toBeUndefined();
  });
});

describe("a comparison", () => {
  const measured = { perSecond: 500, cpuMsPerRequest: 1.5 };

  test("is with the mean of before and after, so that a slow drift cancels", () => {
    const before = { perSecond: 12_000, cpuMsPerRequest: 0.04 };
    const after = { perSecond: 8_000, cpuMsPerRequest: 0.06 };
    const result = compare(measured, before, after);
    expect(result).toEqual(compare(measured, after, before));
    expect(result.ratio).toBeCloseTo(0.05);
    expect(result.costs).toBeCloseTo(20);
    expect(result.cpuCosts).toBeCloseTo(30);
  });

  test("says nothing of CPU time where one of the three is not known", () => {
    const known = { perSecond: 10_000, cpuMsPerRequest: 0.05 };
    const unknown = { perSecond: 10_000, cpuMsPerRequest: undefined };
    expect(compare(measured, known, unknown).cpuCosts).toBeUndefined();
    expect(compare(unknown, known, known).cpuCosts).toBeUndefined();
  });
});

describe("the CPU time of a process", () => {
  const rest =
    "S 1 77 77 0 -1 4194560 1000 0 0 0 250 50 7 9 20 0 4 0 100 1000 200 18446744073709551615";

  test("is its user and system time, without its children's", () => {
    expect(cpuSecondsIn(`77 (workerd) ${rest}`)).toBe(3);
  });

  test("is found behind any name", () => {
    expect(cpuSecondsIn(`77 (a (b) c) ${rest}`)).toBe(3);
  });

  test("is undefined in a line of another form", () => {
    expect(cpuSecondsIn("77 (workerd) S 1")).toBeUndefined();
  });
});

test("the machine is as busy as its cores were between the two moments", () => {
  expect(busyBetween({ busy: 100, all: 1_000 }, { busy: 175, all: 1_100 })).toBe(0.75);
  expect(busyBetween({ busy: 100, all: 1_000 }, { busy: 100, all: 1_000 })).toBe(0);
});
