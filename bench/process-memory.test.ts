import { expect, test } from "vitest";
import { memoryIn, peakBytes, residentBytes, resetPeak } from "./process-memory.ts";

test("memory is read in bytes, from its own line", () => {
  const status = "Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nVmData:\t 1 kB\n";
  expect(memoryIn(status, "VmHWM")).toBe(2 * 2 ** 20);
  expect(memoryIn(status, "VmRSS")).toBe(2 ** 20);
  expect(memoryIn("Name:\tx\n", "VmRSS")).toBeUndefined();
});

test.runIf(process.platform === "linux")("the peak begins anew where it is reset", () => {
  const large = Buffer.alloc(64 * 2 ** 20, 1);
  expect(large.at(-1)).toBe(1);
  const { pid } = process;
  resetPeak(pid);
  const [before = 0, peak = 0] = [residentBytes(pid), peakBytes(pid)];
  expect(before).toBeGreaterThan(64 * 2 ** 20);
  expect(Math.abs(peak - before)).toBeLessThan(32 * 2 ** 20);
});
