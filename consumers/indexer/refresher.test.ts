import { describe, expect, test } from "vitest";
import { Refresher } from "./refresher.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** A refresher whose refreshes are recorded, and end when they are told to. */
function recorded(intervalMs: number) {
  const began: { months: string[]; at: number; end: (error?: Error) => void }[] = [];
  const refresh = (months: ReadonlySet<string>) =>
    new Promise<void>((resolve, reject) => {
      began.push({
        months: [...months],
        at: Date.now(),
        end: (error) => (error ? reject(error) : resolve()),
      });
    });
  return { began, refresher: new Refresher(refresh, intervalMs) };
}

/** Waits until so many refreshes have begun. */
async function until(count: number, began: unknown[]): Promise<void> {
  for (let n = 0; began.length < count && n < 200; n++) await pause(5);
  expect(began).toHaveLength(count);
}

describe("a refresher", () => {
  test("refreshes once for all who ask before it begins, with all their months", async () => {
    const { began, refresher } = recorded(20);
    const all = [
      refresher.refreshed(["2026.10"]),
      refresher.refreshed(["2026.11", "2026.10"]),
      refresher.refreshed([]),
    ];
    await until(1, began);
    began[0]?.end();
    await Promise.all(all);
    expect(began.map((one) => one.months)).toEqual([["2026.10", "2026.11"]]);
  });

  test("answers only when the refresh is over", async () => {
    const { began, refresher } = recorded(0);
    let isDone = false;
    const asked = refresher.refreshed(["2026.11"]).then(() => (isDone = true));
    await until(1, began);
    await pause(20);
    expect(isDone).toBe(false);
    began[0]?.end();
    await asked;
    expect(isDone).toBe(true);
  });

  test("makes who asks while a refresh runs wait for the next: the running one may not see what they indexed", async () => {
    const { began, refresher } = recorded(20);
    const first = refresher.refreshed(["2026.10"]);
    await until(1, began);
    let isDone = false;
    const second = refresher.refreshed(["2026.11"]).then(() => (isDone = true));
    began[0]?.end();
    await first;
    await pause(5);
    expect(isDone).toBe(false);
    await until(2, began);
    expect(began[1]?.months).toEqual(["2026.11"]);
    began[1]?.end();
    await second;
  });

  test("begins at most one refresh an interval", async () => {
    const { began, refresher } = recorded(100);
    for (let n = 0; n < 3; n++) {
      const asked = refresher.refreshed(["2026.11"]);
      await until(n + 1, began);
      began[n]?.end();
      await asked;
    }
    const times = began.map((one) => one.at);
    // A timer may fire a little early.
    for (let n = 1; n < 3; n++)
      expect((times[n] ?? 0) - (times[n - 1] ?? 0)).toBeGreaterThanOrEqual(95);
  });

  test("tells all who wait that a refresh failed, and the next may succeed", async () => {
    const { began, refresher } = recorded(10);
    const all = [refresher.refreshed(["2026.11"]), refresher.refreshed(["2026.11"])];
    const settled = Promise.allSettled(all);
    await until(1, began);
    began[0]?.end(new Error("no answer"));
    expect((await settled).map((one) => one.status)).toEqual(["rejected", "rejected"]);
    const again = refresher.refreshed(["2026.11"]);
    await until(2, began);
    began[1]?.end();
    await expect(again).resolves.toBeUndefined();
  });
});
