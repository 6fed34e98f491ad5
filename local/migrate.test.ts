import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, expect, inject, test, vi } from "vitest";
import "../test/provided.ts";
import { writeStack } from "./dev-state.ts";
import { migrateCommand } from "./migrate.ts";

const stateDir = mkdtempSync(join(tmpdir(), "audit-log-migrate-"));
const databaseUrl = inject("workerEnv")["DATABASE_URL"];
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

test("without a database it says what to set", async () => {
  expect(await migrateCommand({}, stateDir)).toBe(2);
  expect(printed.join()).toContain("DATABASE_URL is not set");
});

test("a database that does not answer is named as the reason", async () => {
  expect(await migrateCommand({ DATABASE_URL: "postgres://a:b@127.0.0.1:9/c" }, stateDir)).toBe(1);
  expect(printed.join()).toContain("ECONNREFUSED");
});

test("it takes the database of the environment, else that of the running stack", async () => {
  expect(await migrateCommand({ DATABASE_URL: databaseUrl }, stateDir)).toBe(0);
  writeStack(
    { pid: process.pid, url: "http://127.0.0.1:1", env: { DATABASE_URL: databaseUrl ?? "" } },
    stateDir,
  );
  expect(await migrateCommand({}, stateDir)).toBe(0);
  expect(printed).toEqual(["The database is up to date.", "The database is up to date."]);
});
