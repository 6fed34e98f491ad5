import { createServer } from "node:http";
import { once } from "node:events";
import { afterEach, beforeEach, expect, test } from "vitest";
import { requestText } from "./http-text.ts";
import { runLoad } from "./load.ts";

const server = createServer();
let port: number;
let answer: (path: string) => { status: number; body: string } | "cut";
let busy: number;
let mostBusy: number;

server.on("request", (request, response) => {
  busy += 1;
  mostBusy = Math.max(mostBusy, busy);
  setTimeout(() => {
    busy -= 1;
    const told = answer(request.url ?? "");
    if (told === "cut") request.destroy();
    else response.writeHead(told.status).end(told.body);
  }, 5);
});

beforeEach(async () => {
  [busy, mostBusy] = [0, 0];
  answer = () => ({ status: 200, body: "fine" });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  port = typeof address === "object" && address ? address.port : 0;
});

afterEach(async () => {
  server.closeAllConnections();
  server.close();
  await once(server, "close");
});

const job = () => ({
  port,
  connections: 4,
  warmUpMs: 50,
  measureMs: 300,
  requests: ["/a", "/b"].map((path) => requestText({ method: "GET", path })),
  status: 200,
  contains: "fine",
  pids: [process.pid],
});

test("as many requests are under way as there are connections, and no more", async () => {
  const result = await runLoad(job());
  expect(mostBusy).toBe(4);
  expect(result.errors).toBe(0);
  expect(result.requests).toBeGreaterThan(20);
  expect(result.latencyMs?.p50).toBeGreaterThanOrEqual(4);
});

test("every answer is checked, and the first wrong one is shown", async () => {
  answer = (path) => ({ status: 200, body: path === "/b" ? "degraded" : "fine" });
  const result = await runLoad(job());
  expect(result.errors).toBeGreaterThan(0);
  expect(result.firstError).toBe("200 degraded");
  expect(result.requests).toBeGreaterThan(0);
});

test("a wrong status is an error, and does not count as a request", async () => {
  answer = () => ({ status: 503, body: "fine" });
  const result = await runLoad(job());
  expect(result.requests).toBe(0);
  expect(result.firstError).toBe("503 fine");
});

test("a connection that is cut is an error, and the load goes on with a new one", async () => {
  let first = true;
  answer = () => {
    const told = first ? ("cut" as const) : { status: 200, body: "fine" };
    first = false;
    return told;
  };
  const result = await runLoad(job());
  expect(result.errors).toBe(1);
  expect(result.requests).toBeGreaterThan(20);
});

test("what is refused in the warm-up is not counted", async () => {
  let asked = 0;
  answer = () => {
    asked += 1;
    return { status: 429, body: "" };
  };
  const result = await runLoad({ ...job(), refusedStatus: 429, warmUpMs: 300, measureMs: 100 });
  expect(result.errors).toBe(0);
  expect(result.refused).toBeGreaterThan(0);
  expect(result.refused).toBeLessThan(asked / 2);
});
