import { once } from "node:events";
import { createServer } from "node:http";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { reindexCommand } from "./reindex.ts";

let lines: string[] = [];
let errors: string[] = [];
const requests: string[] = [];
/** What the API answers, one after the other; the last one for ever. */
let answers: object[] = [];

const month = (changes: object) => ({
  month: "2026.11",
  state: "PENDING",
  target_index: null,
  logs_copied: 0,
  logs_total: null,
  progress: null,
  error: null,
  ...changes,
});

const server = createServer((request, response) => {
  let body = "";
  request.on("data", (text) => (body += String(text)));
  request.on("end", () => {
    requests.push(`${request.method} ${request.url} ${body}`.trim());
    const next = answers.length > 1 ? answers.shift() : answers[0];
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ data: [next] }));
  });
});

async function run(...args: string[]): Promise<number> {
  if (!server.listening) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    server.unref();
  }
  const address = server.address();
  const port = typeof address === "object" ? address?.port : "";
  return await reindexCommand([...args, "--url", `http://127.0.0.1:${port}`, "--token", "t"]);
}

beforeEach(() => {
  [lines, errors] = [[], []];
  requests.length = 0;
  vi.spyOn(console, "log").mockImplementation((line) => void lines.push(String(line)));
  vi.spyOn(console, "error").mockImplementation((line) => void errors.push(String(line)));
});
afterEach(() => {
  vi.restoreAllMocks();
});

test("starts a month, shows what changes, and ends when it is done", async () => {
  answers = [
    month({}),
    month({
      state: "COPYING",
      target_index: "audit-logs-2026.11-2",
      logs_copied: 5,
      logs_total: 10,
      progress: 0.5,
    }),
    month({
      state: "DONE",
      target_index: "audit-logs-2026.11-2",
      logs_copied: 10,
      logs_total: 10,
      progress: 1,
    }),
  ];
  expect(await run("--month", "2026.11")).toBe(0);
  expect(requests[0]).toBe('POST /api/v1/operations/reindex {"month":"2026.11"}');
  expect(lines).toEqual([
    "2026.11  COPYING     audit-logs-2026.11-2  5 of 10 logs (50 %)",
    "2026.11  DONE        audit-logs-2026.11-2  10 of 10 logs (100 %)",
  ]);
});

test("says why a month failed, and is not content with it", async () => {
  answers = [month({ state: "FAILED", error: "400 mapper_parsing_exception" })];
  expect(await run("--month", "2026.11")).toBe(1);
  expect(lines.join()).toContain("400 mapper_parsing_exception");
});

test("gives a month up", async () => {
  answers = [month({ state: "CANCELLING" }), month({ state: "CANCELLED" })];
  expect(await run("--month", "2026.11", "--cancel")).toBe(0);
  expect(requests[0]).toBe("DELETE /api/v1/operations/reindex/2026.11");
});

test("only shows how far each month is", async () => {
  answers = [month({ state: "COPYING", logs_copied: 5 })];
  expect(await run("--status")).toBe(0);
  expect(requests).toEqual(["GET /api/v1/operations/reindex"]);
  expect(lines).toEqual(["2026.11  COPYING     5 logs"]);
});

test.each([
  [["--month", "november"]],
  [["--cancel"]],
  [["--url", "https://audit.example"]],
  [["--unknown"]],
])("refuses %j, and tells how to ask", async (args) => {
  expect(await reindexCommand(args)).toBe(2);
  expect(errors.join()).toContain("npm run reindex --");
});

test("tells how to ask", async () => {
  expect(await reindexCommand(["--help"])).toBe(0);
  expect(lines.join()).toContain("--status");
});
