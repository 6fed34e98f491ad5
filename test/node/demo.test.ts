import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { demoCommand } from "../../local/demo.ts";

const stateDir = mkdtempSync(join(tmpdir(), "audit-log-demo-test-"));
let printed: string[] = [];

beforeEach(() => {
  printed = [];
  for (const level of ["log", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void printed.push(String(line)));
  }
});
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(() => rmSync(stateDir, { recursive: true }));

/** A server that answers every request with a status. */
async function answering(status: number): Promise<{ url: string; close: () => void }> {
  const server = createServer((_request, response) => {
    response.writeHead(status, { "Content-Type": "application/problem+json" });
    response.end(JSON.stringify({ code: "forbidden", detail: "Not you." }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" ? address?.port : undefined;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

test.each([
  [["--url", "http://127.0.0.1:9"], "start it with npm run dev"],
  [["--url", "nowhere"], "--url needs an http"],
  [["--nonsense"], "npm run demo -- "],
])("the demo with %j fails and says what to do", async (args, text) => {
  expect(await demoCommand(args, stateDir)).toBe(1);
  expect(printed.join("\n")).toContain(text);
});

test.each([
  [503, "its database is down"],
  [404, "is not this API"],
])("the demo names a server whose health is %i", async (status, text) => {
  const server = await answering(status);
  expect(await demoCommand(["--url", server.url], stateDir)).toBe(1);
  expect(printed.join("\n")).toContain(text);
  server.close();
});
