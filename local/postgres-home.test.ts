import { spawnSync } from "node:child_process";
import { chmod, lstat, mkdir, mkdtemp, readlink, rm, stat } from "node:fs/promises";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { preparePostgresHome } from "./postgres-home.ts";
import { startPostgres } from "./postgres.ts";

const isRoot = userInfo().uid === 0;
let locked: string;

beforeAll(async () => {
  // What /root is on most machines: mkdtemp gives 0700.
  locked = await mkdtemp(join(tmpdir(), "audit-log-locked-"));
});

afterAll(() => rm(locked, { recursive: true, force: true }));

describe.runIf(isRoot)("as root", () => {
  test("data goes where the other user can get, and is found there again", async () => {
    const dataDir = join(locked, "postgres");
    const first = await preparePostgresHome(dataDir, true);
    expect(first.user.uid).toBeGreaterThan(0);
    expect(first.dataDir).toBe(await readlink(dataDir));
    expect((await stat(first.dataDir)).uid).toBe(first.user.uid);
    await mkdir(join(first.dataDir, "kept"));

    expect(await preparePostgresHome(dataDir, true)).toEqual(first);
    await stat(join(first.dataDir, "kept"));

    // Without the link, as after --fresh, what lies there is nobody's.
    await rm(dataDir);
    expect(await preparePostgresHome(dataDir, true)).toEqual(first);
    await expect(stat(join(first.dataDir, "kept"))).rejects.toThrow("ENOENT");
    await rm(first.dataDir, { recursive: true });
  });

  test("the programs can be run by the other user", async () => {
    const home = await preparePostgresHome(join(locked, "programs"), false);
    await rm(home.dataDir, { recursive: true });
    const { native, user } = home;
    const { uid = 0, gid = 0 } = user;
    const run = spawnSync(join(native, "bin", "postgres"), ["--version"], { uid, gid, cwd: "/" });
    expect(String(run.stdout)).toContain("PostgreSQL) 18");
  });

  test("a server runs in a folder that is closed to others, and leaves nothing outside", async () => {
    const dataDir = join(locked, "whole");
    const postgres = await startPostgres({ dataDir, persistent: false, fast: true });
    const outside = await readlink(dataDir);
    await postgres.stop();
    await expect(lstat(dataDir)).rejects.toThrow("ENOENT");
    await expect(lstat(outside)).rejects.toThrow("ENOENT");
  });
});

test("in a folder that is open, the data lies in it", async () => {
  const open = await mkdtemp(join(tmpdir(), "audit-log-open-"));
  await chmod(open, 0o755);
  const dataDir = join(open, "postgres");
  const home = await preparePostgresHome(dataDir, true);
  expect(home.dataDir).toBe(dataDir);
  expect((await lstat(dataDir)).isDirectory()).toBe(true);
  await rm(open, { recursive: true });
});
