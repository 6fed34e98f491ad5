import { createExecutionContext, env, waitOnExecutionContext } from "cloudflare:test";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import app from "./all-workers.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { isWakeDue } from "../../worker/wake-poller.ts";
import { nowhere, token } from "./tools.ts";

beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A caller of the Worker, whose pollers are these. Each of its calls is over when its work is. */
function callerWith(wake: () => Promise<void>, changes: object = {}) {
  const pollers = () => ({ getByName: () => ({ wake }) });
  const bindings = { ...env, LOG_POLLER: pollers(), EXPORT_POLLER: pollers(), ...changes };
  const target = {
    token,
    async fetch(path: string, init?: RequestInit) {
      const context = createExecutionContext();
      const request = new Request(`http://audit${path}`, init);
      const response = await app.fetch(request, bindings as never, context);
      await waitOnExecutionContext(context);
      return response;
    },
  };
  return callerOf(target, { tenant_id: newTenant() });
}

test("a write wakes the indexer though SQS does not take its message: so it counts as activity", async () => {
  const wake = vi.fn(async () => {});
  await callerWith(wake, { SQS_ENDPOINT: nowhere }).create();
  expect(wake).toHaveBeenCalledOnce();
});

test("writes wake the indexer once in a while, and exports the exporter besides", async () => {
  const wake = vi.fn(async () => {});
  const caller = callerWith(wake);
  await caller.create();
  await caller.create();
  expect(wake).toHaveBeenCalledTimes(1);
  await caller.post("/api/v1/logs/export", undefined);
  expect(wake).toHaveBeenCalledTimes(2);
});

test.each([
  [undefined, 1_000_000, true],
  [1_000_000, 1_009_999, false],
  [1_000_000, 1_010_000, true],
  [1_000_000, 999_999, true],
])("pollers woken at %s may be woken at %i: %s", (last, now, isDue) => {
  expect(isWakeDue(last, now)).toBe(isDue);
});

test("a wake that fails is tried again, and by the next write where it fails for good", async () => {
  const wake = vi.fn(async () => {});
  wake.mockRejectedValueOnce(new Error("the object was moved"));
  await callerWith(wake).create();
  expect(wake).toHaveBeenCalledTimes(2);
  const deaf = vi.fn(() => Promise.reject(new Error("the object is gone")));
  const caller = callerWith(deaf);
  await caller.create();
  expect(deaf).toHaveBeenCalledTimes(3);
  await caller.create();
  expect(deaf).toHaveBeenCalledTimes(6);
});
