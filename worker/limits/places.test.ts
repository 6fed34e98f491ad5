import { afterEach, expect, test, vi } from "vitest";
import { takePlace } from "./places.ts";

afterEach(() => {
  vi.useRealTimers();
});

test("there are so many places and no more, for each key", () => {
  const [one, two] = [takePlace("a", 2), takePlace("a", 2)];
  expect(takePlace("a", 2)).toBeUndefined();
  const other = takePlace("b", 2);
  expect(other).toBeDefined();
  one?.();
  expect(takePlace("a", 2)).toBeDefined();
  expect(takePlace("a", 2)).toBeUndefined();
  two?.();
});

test("a place that is given back twice is free once", () => {
  const release = takePlace("twice", 2);
  release?.();
  release?.();
  takePlace("twice", 2);
  takePlace("twice", 2);
  expect(takePlace("twice", 2)).toBeUndefined();
});

test("the place of a request that was cut off is free again", () => {
  vi.useFakeTimers();
  takePlace("cut off", 1);
  vi.advanceTimersByTime(14_900);
  expect(takePlace("cut off", 1)).toBeUndefined();
  vi.advanceTimersByTime(100);
  expect(takePlace("cut off", 1)).toBeDefined();
});
