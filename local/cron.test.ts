import { createServer, type Server } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startCron } from "./cron.ts";

let server: Server;
let url: string;
const asked = vi.fn<(worker: string | null) => void>();
let answer: (worker: string | null) => Promise<{ status: number; outcome: string }>;

beforeEach(async () => {
  asked.mockReset();
  answer = async () => ({ status: 200, outcome: "ok" });
  server = createServer(async (request, response) => {
    const target = new URL(request.url ?? "", "http://x");
    const worker = target.searchParams.get("worker");
    asked(worker);
    const { status, outcome } = await answer(worker);
    response.writeHead(status).end(JSON.stringify({ result: { outcome } }));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  url = `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

test("every Worker's cron fires at the start and again", async () => {
  const onFailure = vi.fn<(worker: string, reason: string) => void>();
  const stop = startCron({ url, workers: ["a", "b"], onFailure, everyMs: 50 });
  await expect.poll(() => asked.mock.calls.length).toBeGreaterThanOrEqual(4);
  stop();
  expect(asked.mock.calls.slice(0, 2)).toEqual(expect.arrayContaining([["a"], ["b"]]));
  expect(onFailure).not.toHaveBeenCalled();
});

test("one that still runs is not started twice, and the others go on", async () => {
  const slow = Promise.withResolvers<{ status: number; outcome: string }>();
  answer = (worker) =>
    worker === "slow" ? slow.promise : Promise.resolve({ status: 200, outcome: "ok" });
  const stop = startCron({ url, workers: ["slow", "b"], onFailure: () => {}, everyMs: 20 });
  await expect
    .poll(() => asked.mock.calls.filter(([worker]) => worker === "b").length)
    .toBeGreaterThan(3);
  expect(asked.mock.calls.filter(([worker]) => worker === "slow")).toHaveLength(1);
  stop();
});

test.each([
  [200, "exception"],
  [404, "ok"],
])("an answer of %i with %s is a failure, told with its Worker", async (status, outcome) => {
  answer = async () => ({ status, outcome });
  const onFailure = vi.fn<(worker: string, reason: string) => void>();
  const stop = startCron({ url, workers: ["a"], onFailure });
  await expect
    .poll(() => onFailure.mock.calls)
    .toEqual([["a", expect.stringContaining(`${status} `)]]);
  stop();
});
