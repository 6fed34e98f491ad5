import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { onePoller, type Scaling, wantedPollers } from "./scale-pollers.ts";

const rules = { max: 4, messagesEach: 100, lowMs: 60_000 };

/** Tells backlogs at times in seconds, and returns how many pollers were wanted at each. */
function run(backlogs: [seconds: number, waiting: number][]): number[] {
  let state: Scaling = onePoller;
  return backlogs.map(([seconds, waiting]) => {
    state = wantedPollers(waiting, seconds * 1_000, state, rules);
    return state.wanted;
  });
}

describe("the number of pollers", () => {
  test("is one while little waits", () => {
    expect(
      run([
        [0, 0],
        [5, 100],
      ]),
    ).toEqual([1, 1]);
  });

  test("grows at once with the backlog, up to the most that there may be", () => {
    expect(
      run([
        [0, 101],
        [5, 250],
        [10, 1_000_000],
      ]),
    ).toEqual([2, 3, 4]);
  });

  test("shrinks only after the backlog has been low for a while", () => {
    expect(
      run([
        [0, 1_000],
        [5, 0],
        [64, 0],
        [65, 0],
      ]),
    ).toEqual([4, 4, 4, 1]);
  });

  test("does not shrink while the backlog comes and goes", () => {
    expect(
      run([
        [0, 400],
        [40, 0],
        [80, 400],
        [120, 0],
        [179, 0],
        [180, 0],
      ]),
    ).toEqual([4, 4, 4, 4, 4, 1]);
  });

  test("shrinks to the most that was needed meanwhile", () => {
    expect(
      run([
        [0, 400],
        [5, 50],
        [30, 150],
        [60, 0],
        [65, 0],
      ]),
    ).toEqual([4, 4, 4, 4, 2]);
  });

  test("never leaves its bounds, and never falls twice within the time", () => {
    const step = fc.record({ afterMs: fc.nat(90_000), waiting: fc.nat(2_000) });
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        let [state, now, fell, isRight] = [onePoller, 0, Number.NEGATIVE_INFINITY, true];
        for (const { afterMs, waiting } of steps) {
          now += afterMs;
          const next = wantedPollers(waiting, now, state, rules);
          isRight &&= next.wanted >= 1 && next.wanted <= 4;
          if (next.wanted < state.wanted) {
            isRight &&= now - fell >= rules.lowMs;
            fell = now;
          }
          state = next;
        }
        return isRight;
      }),
    );
  });
});
