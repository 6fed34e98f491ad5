import fc from "fast-check";
import { beforeEach, afterEach, describe, expect, test, vi } from "vitest";
import {
  admitCall,
  afterAnswer,
  afterFailure,
  breakerPhase,
  type BreakerRules,
  type BreakerState,
  closedBreaker,
} from "./breaker.ts";

const rules: BreakerRules = {
  failuresToOpen: 3,
  slowToOpen: 2,
  firstOpenMs: 1_000,
  maxOpenMs: 5_000,
  probeMs: 500,
};

let open: BreakerState;
beforeEach(() => {
  // The longest that the jitter allows.
  vi.spyOn(Math, "random").mockReturnValue(1);
  open = failed(closedBreaker, 3, 0);
});
afterEach(() => {
  vi.restoreAllMocks();
});

const failed = (state: BreakerState, times: number, now: number) =>
  Array.from({ length: times }).reduce<BreakerState>((s) => afterFailure(s, rules, now), state);
const isAdmitted = (state: BreakerState, now: number) => admitCall(state, rules, now).isAdmitted;

describe("a breaker", () => {
  test("stays closed while failures do not come in a row", () => {
    let state = failed(closedBreaker, 2, 0);
    state = afterAnswer(state, rules, 0);
    state = failed(state, 2, 0);
    expect(breakerPhase(state, 0)).toBe("closed");
    expect(isAdmitted(state, 0)).toBe(true);
  });

  test("opens at so many failures in a row, and admits no call for a time", () => {
    expect(breakerPhase(open, 999)).toBe("open");
    expect(isAdmitted(open, 0)).toBe(false);
    expect(isAdmitted(open, 999)).toBe(false);
  });

  test("opens at so many slow answers in a row, though none failed", () => {
    const once = afterAnswer(closedBreaker, rules, 0, true);
    expect(breakerPhase(once, 0)).toBe("closed");
    expect(breakerPhase(afterAnswer(once, rules, 0), 0)).toBe("closed");
    expect(breakerPhase(afterAnswer(once, rules, 0, true), 0)).toBe("open");
  });

  test("admits one probe at a time when it is half-open, and another when that is lost", () => {
    const first = admitCall(open, rules, 1_000);
    expect(first.isAdmitted).toBe(true);
    expect(isAdmitted(first.state, 1_499)).toBe(false);
    expect(isAdmitted(first.state, 1_500)).toBe(true);
  });

  test("closes at a probe that is answered", () => {
    const { state } = admitCall(open, rules, 1_000);
    expect(afterAnswer(state, rules, 1_100)).toEqual(closedBreaker);
  });

  test.each(["fails", "is slow"])(
    "opens for twice as long when its probe %s, up to a limit",
    (how) => {
      let [state, now] = [open, 0];
      for (const openMs of [1_000, 2_000, 4_000, 5_000, 5_000]) {
        expect(state.openUntil - now).toBe(openMs);
        now = state.openUntil;
        const probe = admitCall(state, rules, now).state;
        state =
          how === "fails" ? afterFailure(probe, rules, now) : afterAnswer(probe, rules, now, true);
      }
    },
  );

  test("is not changed while open by calls that were under way when it opened", () => {
    expect(afterAnswer(open, rules, 500)).toBe(open);
    expect(afterFailure(open, rules, 500)).toBe(open);
  });

  test("spreads its openings: half of the time is left to chance", () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    expect(failed(closedBreaker, 3, 0).openUntil).toBe(500);
  });

  test("whatever happens, admits calls again after the longest opening and a lost probe", () => {
    const step = fc.record({
      does: fc.constantFrom("ask", "answer", "slow", "fail"),
      afterMs: fc.nat(3_000),
    });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        let [state, now] = [closedBreaker, 0];
        for (const { does, afterMs } of steps) {
          now += afterMs;
          if (does === "ask") state = admitCall(state, rules, now).state;
          else if (does === "fail") state = afterFailure(state, rules, now);
          else state = afterAnswer(state, rules, now, does === "slow");
        }
        return isAdmitted(state, now + rules.maxOpenMs + rules.probeMs);
      }),
    );
  });
});
