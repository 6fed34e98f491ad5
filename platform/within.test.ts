import { expect, test } from "vitest";
import { within } from "./within.ts";

test("work that is done in time gives what it gives", async () => {
  expect(await within(1_000, Promise.resolve("done"))).toBe("done");
  await expect(within(1_000, Promise.reject(new Error("failed")))).rejects.toThrow("failed");
});

test("work that hangs is not waited for any longer", async () => {
  const began = Date.now();
  await expect(within(30, new Promise(() => {}))).rejects.toThrow("no answer within 30 ms");
  expect(Date.now() - began).toBeLessThan(1_000);
});
