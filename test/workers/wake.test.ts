import { createExecutionContext, env, waitOnExecutionContext } from "cloudflare:test";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import app from "./all-workers.ts";
import { firstPoller } from "../../platform/poller-names.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { pollers } from "./pollers.ts";
import { nowhere, token } from "./tools.ts";

let now = Date.now();
let hours = 0;
beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  // Later than any wake that a test before has left.
  now = Date.now() + 3_600_000 * ++hours;
  vi.useFakeTimers({ now, toFake: ["Date"] });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

// The Worker believes that it has just woken them: the tests behind this one need them awake.
afterAll(async () => {
  await pollers.LOG_POLLER.getByName(firstPoller).wake();
  await pollers.EXPORT_POLLER.getByName(firstPoller).wake();
});

/** A caller of the Worker, whose pollers are these. Each of its calls is over when its work is. */
function callerWith(wake: () => Promise<void>, changes: object = {}) {
  const poller = { getByName: () => ({ wake }) };
  const bindings = { ...env, LOG_POLLER: poller, EXPORT_POLLER: poller, ...changes };
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

test("writes wake the indexer at most every 10 s, and exports the exporter besides", async () => {
  const wake = vi.fn(async () => {});
  const caller = callerWith(wake);
  await caller.create();
  await caller.create();
  vi.setSystemTime(now + 9_000);
  await caller.create();
  expect(wake).toHaveBeenCalledTimes(1);
  await caller.post("/api/v1/logs/export", undefined);
  expect(wake).toHaveBeenCalledTimes(2);
  vi.setSystemTime(now + 11_000);
  await caller.create();
  expect(wake).toHaveBeenCalledTimes(3);
});

test("a wake that fails is tried again, and by the next write where it fails for good", async () => {
  const wake = vi.fn(async () => {});
  wake.mockRejectedValueOnce(new Error("the object was moved"));
  await callerWith(wake).create();
  expect(wake).toHaveBeenCalledTimes(2);
  vi.setSystemTime(now + 60_000);
  const deaf = vi.fn(() => Promise.reject(new Error("the object is gone")));
  const caller = callerWith(deaf);
  await caller.create();
  expect(deaf).toHaveBeenCalledTimes(3);
  await caller.create();
  expect(deaf).toHaveBeenCalledTimes(6);
});
