import { expect, test } from "vitest";
import { knownTier, learnTier } from "./known-tiers.ts";

test("a tenant that nothing was heard of is in the default tier", () => {
  expect(knownTier("never heard of")).toBe("standard");
  learnTier("not made yet", null);
  expect(knownTier("not made yet")).toBe("standard");
});

test("what was heard last counts", () => {
  learnTier("acme", "low");
  learnTier("acme", "high");
  expect(knownTier("acme")).toBe("high");
});

test("a tier of another release is the default one", () => {
  learnTier("acme", "platinum");
  expect(knownTier("acme")).toBe("standard");
});

test("of more tenants than are kept, those that were not heard of for longest are forgotten", () => {
  learnTier("old", "high");
  learnTier("busy", "high");
  for (let n = 0; n < 9_999; n += 1) {
    learnTier(`other ${n}`, "low");
    if (n === 5_000) learnTier("busy", "high");
  }
  expect(knownTier("old")).toBe("standard");
  expect(knownTier("busy")).toBe("high");
  expect(knownTier("other 9998")).toBe("low");
});
