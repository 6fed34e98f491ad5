import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, inject, test, vi } from "vitest";
import { demoCommand } from "../../local/demo.ts";
import { devCommand } from "../../local/dev.ts";
import { readStack } from "../../local/dev-state.ts";
import { freePort } from "../../local/ports.ts";
import type { Target } from "../journeys/api.ts";
import { writeAndReadJourneys } from "../journeys/write-and-read.ts";
import "../provided.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const stop = Promise.withResolvers<void>();
let stateDir = "";
let printed: string[] = [];
let ended: Promise<number> = Promise.resolve(0);
let target: Target | undefined;

const current: Target = {
  fetch: (path, init) => (target ?? failed()).fetch(path, init),
  token: (claims) => (target ?? failed()).token(claims),
};

function failed(): never {
  throw new Error(`The stack did not start:\n${printed.join("\n")}`);
}

/** What `npm run dev` starts, with its data elsewhere: one may be running in this folder. */
beforeAll(async () => {
  for (const level of ["log", "error"] as const) {
    vi.spyOn(console, level).mockImplementation((line) => void printed.push(String(line)));
  }
  stateDir = await mkdtemp(join(tmpdir(), "audit-log-stack-"));
  ended = devCommand(["--port", String(await freePort())], stop.promise, { root, stateDir });
  const isReady = vi.waitFor(() => readStack(stateDir) ?? failed(), {
    timeout: 100_000,
    interval: 200,
  });
  const stack = await Promise.race([isReady, ended.then(failed)]);
  const secret = new TextEncoder().encode(stack.env["JWT_SECRET"]);
  target = {
    fetch: (path, init) => fetch(`${stack.url}${path}`, init),
    token: (claims) =>
      new SignJWT({ role: "admin", sub: "alice", ...claims })
        .setProtectedHeader({ alg: "HS256" })
        .setExpirationTime("1h")
        .sign(secret),
  };
}, 120_000);

afterAll(async () => {
  stop.resolve();
  await ended;
  vi.restoreAllMocks();
  await rm(stateDir, { recursive: true, force: true });
}, 60_000);

describe("the local stack", () => {
  test("says where it is, and gives a token and lines to paste", () => {
    const output = printed.join("\n");
    for (const text of ["/api/v1", "/docs", "TOKEN", "curl", "npm run demo"])
      expect(output).toContain(text);
  });

  writeAndReadJourneys(current);

  test("the demo sends its events, finds them, and its counts agree", async () => {
    printed = [];
    const code = await demoCommand([], stateDir);
    const output = printed.join("\n");
    expect(code, output).toBe(0);
    expect(output).toContain(
      inject("searchMissing") === "" ? "All counts agree." : "search ran from Postgres",
    );
  });

  test("stops every part", async () => {
    stop.resolve();
    expect(await ended).toBe(0);
    expect(readStack(stateDir)).toBeUndefined();
  });
});
