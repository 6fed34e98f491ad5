import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { retryAfterMs, type RetryPolicy, withRetries } from "./retry.ts";

class Passing extends Error {
  readonly waitMs: number | undefined;
  constructor(waitMs?: number) {
    super("passing");
    this.waitMs = waitMs;
  }
}

const policy: RetryPolicy = {
  isPassing: (error) => error instanceof Passing,
  tries: 4,
  firstMs: 100,
  capMs: 300,
  deadlineMs: 10_000,
  retryAfterMs: (error) => (error instanceof Passing ? error.waitMs : undefined),
};

beforeEach(() => {
  vi.useFakeTimers();
  // Full jitter at its most.
  vi.spyOn(Math, "random").mockReturnValue(1);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Runs work that fails with these errors and then succeeds. Returns when each try was, and how it ended. */
async function run(errors: Error[], changes: Partial<RetryPolicy> = {}) {
  const began = Date.now();
  const at: number[] = [];
  const left: number[] = [];
  const ended = withRetries({ ...policy, ...changes }, async (leftMs) => {
    at.push(Date.now() - began);
    left.push(leftMs);
    const error = errors.shift();
    if (error) throw error;
    return "done";
  }).catch((error: unknown) => error);
  await vi.runAllTimersAsync();
  return { at, left, ended: await ended };
}

const failures = (count: number) => Array.from({ length: count }, () => new Passing());

describe("work that is tried again", () => {
  test("waits up to twice as long before each try, but never more than the cap", async () => {
    expect(await run(failures(3))).toEqual({
      at: [0, 100, 300, 600],
      left: [10_000, 9_900, 9_700, 9_400],
      ended: "done",
    });
  });

  test("waits for no time at all where the jitter says so", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    expect((await run(failures(3))).at).toEqual([0, 0, 0, 0]);
  });

  test("ends with the last error when it has been tried often enough", async () => {
    const errors = failures(9);
    const { at, ended } = await run([...errors]);
    expect(at).toHaveLength(4);
    expect(ended).toBe(errors[3]);
  });

  test("ends at once with an error that does not pass", async () => {
    const refused = new Error("refused");
    expect(await run([new Passing(), refused])).toMatchObject({ at: [0, 100], ended: refused });
  });

  test("waits at least as long as the peer asks for", async () => {
    expect((await run([new Passing(2_000), new Passing(0)])).at).toEqual([0, 2_000, 2_200]);
  });

  test.each([[new Passing(10_000)], [new Passing(60_000)]])(
    "is not tried again when the peer asks for more time than there is",
    async (error) => {
      expect(await run([error])).toMatchObject({ at: [0], ended: error });
    },
  );

  test("is not tried again once its time is over", async () => {
    const { at, ended } = await run(failures(9), { tries: 100, deadlineMs: 1_000 });
    expect(at).toEqual([0, 100, 300, 600, 900]);
    expect(ended).toBeInstanceOf(Passing);
  });
});

describe("Retry-After", () => {
  const now = Date.parse("2026-11-24T08:00:00Z");
  test.each([
    ["0", 0],
    ["120", 120_000],
    [" 7 ", 7_000],
    ["Tue, 24 Nov 2026 08:00:30 GMT", 30_000],
    ["Tuesday, 24-Nov-26 08:00:30 GMT", 30_000],
    ["Tue, 24 Nov 2026 07:00:00 GMT", 0],
    ["", undefined],
    ["-1", undefined],
    ["1.5", undefined],
    ["soon", undefined],
    ["2026", 2_026_000],
    ["Xxx, nonsense GMT", undefined],
    [null, undefined],
    [undefined, undefined],
  ])("of %j is %j ms", (header, expected) => {
    expect(retryAfterMs(header, now)).toBe(expected);
  });
});
