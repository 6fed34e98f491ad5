import { expect, test } from "vitest";
import { seededRandom } from "../../bench/entries.ts";
import { backendKinds, planFaults } from "./plan-faults.ts";

const planOf = (seed: number, ms = 120_000) => planFaults(seededRandom(seed), ms);

test("a seed makes the same plan again, another seed another", () => {
  expect(planOf(7)).toEqual(planOf(7));
  expect(planOf(8)).not.toEqual(planOf(7));
});

test("events are in the order of time, and each kill has its restart", () => {
  const plan = planOf(1);
  const times = plan.map(({ atMs }) => atMs);
  expect(times).toEqual(times.toSorted((one, other) => one - other));
  const count = (what: string) => plan.filter((event) => event.what === what).length;
  expect(count("kill")).toBeGreaterThan(5);
  expect(count("restart")).toBe(count("kill"));
  expect(count("accept")).toBe(count("refuse"));
});

test("workerd is killed even in a run of some seconds", () => {
  for (let seed = 0; seed < 50; seed++)
    expect(planOf(seed, 10_000).some(({ what }) => what === "kill")).toBe(true);
});

test("over some seeds every backend has every kind of fault", () => {
  const plan = [1, 2, 3, 4, 5].flatMap((seed) => planOf(seed));
  for (const backend of backendKinds) {
    const rules = plan.flatMap((event) =>
      event.what === "rules" && event.backend === backend ? event.rules : [],
    );
    const kinds = new Set(
      rules.map(({ fault }) => (fault.kind === "answer" ? fault.status : fault.kind)),
    );
    const hasBatches = backend === "sqs" || backend === "opensearch";
    expect([...kinds].map(String).toSorted(), backend).toEqual([
      "429",
      "500",
      "503",
      "delay",
      ...(hasBatches ? ["entries"] : []),
      "lose-answer",
      "reset",
      "truncate",
    ]);
  }
});
