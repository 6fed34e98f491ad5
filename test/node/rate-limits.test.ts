import { expect, test } from "vitest";
import { readRateLimits } from "../../local/workerd/bundle-worker.ts";
import { allRateLimits, windowSeconds } from "../../worker/limits/rate-limits.ts";

const given = readRateLimits("wrangler.toml");

test("the platform is given the limits that the code tells clients of", () => {
  const told = allRateLimits().map(([name, limit]) => ({
    name,
    simple: { limit, period: windowSeconds },
  }));
  expect(given.map(({ name, simple }) => ({ name, simple }))).toEqual(told);
});

test("no two limits count together", () => {
  const ids = given.map((one) => one.namespace_id);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.join()).toMatch(/^[\d,]+$/);
});
