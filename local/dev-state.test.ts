import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isDevProcess, readStack, takeLock, writeStack } from "./dev-state.ts";

let folder: string;
const url = "http://127.0.0.1:8787";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-state-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

/** A process that looks like `node local/dev.ts` to others. */
async function devProcess(): Promise<{ pid: number; kill(): void }> {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)", "local/dev.ts"]);
  await new Promise((resolve) => {
    child.once("spawn", resolve);
  });
  return { pid: child.pid ?? 0, kill: () => child.kill() };
}

test("one process at a time has the folder, and leaves nothing behind", async () => {
  const lock = takeLock(url, folder);
  if ("takenBy" in lock) throw new Error("taken");
  writeStack({ pid: process.pid, url, env: { JWT_SECRET: "x" } }, folder);
  const { mode } = await stat(join(folder, "stack.json"));
  expect(mode & 0o077).toBe(0);
  lock.release();
  expect(await readdir(folder)).toEqual([]);
});

test("another one is told who has it, and where", async () => {
  const other = await devProcess();
  await writeFile(join(folder, "lock.json"), JSON.stringify({ pid: other.pid, url }));
  expect(takeLock(url, folder)).toEqual({ takenBy: { pid: other.pid, url } });
  writeStack({ pid: other.pid, url, env: {} }, folder);
  expect(readStack(folder)).toEqual({ pid: other.pid, url, env: {} });
  other.kill();
});

test.each([
  ["of a process that is gone", { pid: 999_999_999, url }],
  ["whose number another program has by now", { pid: 1, url }],
  ["that is not one", "half a fi"],
])("a lock %s is taken over", async (_, content) => {
  await writeFile(join(folder, "lock.json"), JSON.stringify(content));
  await writeFile(join(folder, "stack.json"), "{}");
  const lock = takeLock(url, folder);
  expect(lock).toHaveProperty("release");
  expect(await readdir(folder)).toEqual(["lock.json"]);
});

test("the state of a stack that was killed is not believed", () => {
  writeStack({ pid: 999_999_999, url, env: {} }, folder);
  expect(readStack(folder)).toBeUndefined();
  expect(isDevProcess(process.ppid)).toBe(false);
});
