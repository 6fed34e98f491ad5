import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { takeTokens } from "./tokens.ts";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** Five a second, and so many at once. */
const bucket = (key: string, everyMs = 200, most = 5) => ({ key, everyMs, most });

/** How many in a row are let through. */
function taken(...buckets: ReturnType<typeof bucket>[]): number {
  for (let n = 0; ; n += 1) if (takeTokens(buckets)) return n;
}

test("a bucket is full at first, and then gives a token as often as one comes", () => {
  expect(taken(bucket("steady"))).toBe(5);
  vi.advanceTimersByTime(199);
  expect(taken(bucket("steady"))).toBe(0);
  vi.advanceTimersByTime(1);
  expect(taken(bucket("steady"))).toBe(1);
  vi.advanceTimersByTime(600);
  expect(taken(bucket("steady"))).toBe(3);
});

test("a bucket never holds more than when it is full", () => {
  taken(bucket("idle"));
  vi.advanceTimersByTime(3_600_000);
  expect(taken(bucket("idle"))).toBe(5);
});

test("who asks too soon is told in how many whole seconds there is a token, and loses none", () => {
  const slow = bucket("slow", 2_000, 2);
  expect(taken(slow)).toBe(2);
  expect(takeTokens([slow])).toEqual({ empty: slow, afterSeconds: 2 });
  vi.advanceTimersByTime(1_500);
  expect(takeTokens([slow])).toEqual({ empty: slow, afterSeconds: 1 });
  vi.advanceTimersByTime(500);
  expect(taken(slow)).toBe(1);
});

test("who sends as fast as there are tokens, and waits as told, gets all that come", () => {
  let sent = 0;
  const end = Date.now() + 60_000;
  while (Date.now() < end) {
    const refused = takeTokens([bucket("greedy", 200, 6)]);
    sent += refused ? 0 : 1;
    vi.advanceTimersByTime(refused ? refused.afterSeconds * 1_000 : 20);
  }
  expect(sent).toBeGreaterThan(290);
  expect(sent).toBeLessThanOrEqual(306);
});

test("a token is taken out of all buckets or of none", () => {
  const [caller, other] = [bucket("caller", 200, 2), bucket("other", 200, 5)];
  const tenant = bucket("tenant", 100, 4);
  expect(taken(caller, tenant)).toBe(2);
  expect(takeTokens([caller, tenant])).toMatchObject({ empty: caller });
  expect(taken(other, tenant)).toBe(2);
  expect(takeTokens([other, tenant])).toMatchObject({ empty: tenant });
  expect(taken(other)).toBe(3);
});

test("another tier holds at once, and nobody waits for what the one before lacked", () => {
  const [low, high] = [bucket("tier", 2_000, 2), bucket("tier", 20, 50)];
  taken(low);
  expect(taken(high)).toBe(0);
  vi.advanceTimersByTime(20);
  expect(taken(high)).toBe(1);
  vi.advanceTimersByTime(1_000);
  expect(taken(high)).toBe(50);
  vi.advanceTimersByTime(3_600_000);
  expect(taken(low)).toBe(2);
});

test("a clock that is set back holds nobody up for longer than a bucket takes to fill", () => {
  taken(bucket("clock"));
  vi.setSystemTime(Date.now() - 3_600_000);
  expect(takeTokens([bucket("clock")])).toMatchObject({ afterSeconds: 1 });
  vi.advanceTimersByTime(200);
  expect(taken(bucket("clock"))).toBe(1);
});

test("of more buckets than are kept, those that were used longest ago are full again", () => {
  taken(bucket("old"));
  takeTokens([bucket("busy")]);
  for (let n = 0; n < 9_999; n += 1) {
    takeTokens([bucket(`one of many ${n}`)]);
    if (n === 5_000) takeTokens([bucket("busy")]);
  }
  expect(taken(bucket("old"))).toBe(5);
  expect(taken(bucket("busy"))).toBe(3);
});
