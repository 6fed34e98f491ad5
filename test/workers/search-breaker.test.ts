import { errors } from "@opensearch-project/opensearch";
import { afterEach, beforeEach, describe, expect, inject, test, vi } from "vitest";
import { createLogger } from "../../platform/logger.ts";
import { SearchPaused, throughBreaker } from "../../worker/logs/search-breaker.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { workersWith } from "./tools.ts";

let events: string[] = [];
beforeEach(() => {
  events = [];
  vi.spyOn(console, "warn").mockImplementation((line) => void events.push(JSON.parse(line).event));
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const logger = createLogger("test", "INFO");
/** Each test has a cluster of its own. */
const newNode = () => `http://${crypto.randomUUID()}`;
const noAnswer = () => Promise.reject(new errors.ConnectionError("no answer"));
const answer = async () => "found";
const paused = expect.any(SearchPaused) as SearchPaused;

/** Asks once, and returns what was found or thrown. */
const ask = (node: string, what: () => Promise<unknown>) =>
  throughBreaker(node, logger, what).catch((error: unknown) => error);

async function failThreeTimes(node: string): Promise<void> {
  for (let n = 0; n < 3; n++) expect(await ask(node, noAnswer)).not.toBeInstanceOf(SearchPaused);
}

describe("while OpenSearch hangs", () => {
  test("lists wait for its timeout a few times only, and then come from Postgres at once", async () => {
    const host = `${inject("hangingUrl")}`;
    const caller = callerOf(workersWith({ OPENSEARCH_HOST: host, LOG_LEVEL: "WARNING" }), {
      tenant_id: newTenant(),
    });
    const took: number[] = [];
    for (let n = 0; n < 6; n++) {
      const began = Date.now();
      expect((await caller.list()).source).toBe("postgres");
      took.push(Date.now() - began);
    }
    expect(Math.max(...took.slice(3))).toBeLessThan(1_500);
    const stats = await caller.get("/api/v1/logs/stats");
    expect(stats.body).toMatchObject({ source: "postgres" });
  });
});

describe("the breaker of searches", () => {
  test("asks nothing of OpenSearch after three failures in a row, and says so once", async () => {
    const node = newNode();
    await failThreeTimes(node);
    const asked = vi.fn(answer);
    expect(await Promise.all([ask(node, asked), ask(node, asked)])).toEqual([paused, paused]);
    expect(asked).not.toHaveBeenCalled();
    expect(events).toEqual(["search_breaker_opened"]);
  });

  test("lets one request at a time try, and closes when it is answered", async () => {
    const node = newNode();
    vi.useFakeTimers();
    await failThreeTimes(node);
    vi.advanceTimersByTime(5_000);
    let finish: (found: string) => void = () => {};
    const probe = ask(node, () => new Promise((resolve) => (finish = resolve)));
    expect(await ask(node, answer)).toEqual(paused);
    finish("found");
    expect(await probe).toBe("found");
    expect(await ask(node, answer)).toBe("found");
    expect(events).toEqual(["search_breaker_opened", "search_breaker_closed"]);
  });

  test("goes on for longer when that one fails too", async () => {
    const node = newNode();
    vi.useFakeTimers();
    await failThreeTimes(node);
    vi.advanceTimersByTime(5_000);
    await ask(node, noAnswer);
    vi.advanceTimersByTime(4_900);
    expect(await ask(node, answer)).toEqual(paused);
    vi.advanceTimersByTime(5_100);
    expect(await ask(node, answer)).toBe("found");
  });

  test("is not opened by a query that OpenSearch refuses, however often", async () => {
    const node = newNode();
    const refused = () =>
      Promise.reject(
        new errors.ResponseError({
          statusCode: 400,
          headers: {},
          warnings: null,
          body: {},
          meta: {} as never,
        }),
      );
    for (let n = 0; n < 9; n++) await ask(node, refused);
    expect(await ask(node, answer)).toBe("found");
    expect(events).toEqual([]);
  });

  test("of one cluster says nothing of another", async () => {
    await failThreeTimes(newNode());
    expect(await ask(newNode(), answer)).toBe("found");
  });
});
