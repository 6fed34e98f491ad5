import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chown, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { startChild, type Child, type Running } from "./child.ts";
import { freePort } from "./ports.ts";
import { preparePostgresHome, type PostgresHome } from "./postgres-home.ts";

const USER = "postgres";
const PASSWORD = "local";
const DATABASE = "audit";
const START_TIMEOUT_MS = 60_000;

export type PostgresOptions = {
  dataDir: string;
  /** A free one when absent. */
  port?: number | undefined;
  /** false: the data folder is removed at the end. */
  persistent: boolean;
  /** Gives up durability for speed: a crash may lose data. For tests only. */
  fast?: boolean;
  logFile?: string | undefined;
};

export type Postgres = Running & { url: string; stop(): Promise<void> };

// The npm package's own class ends the whole process on SIGINT and SIGTERM, before the other parts
// are stopped; so only its programs are used.
const environment = { ...process.env, LC_ALL: "C", TZ: "UTC" };

async function initialise(home: PostgresHome, fast: boolean): Promise<void> {
  if (await stat(join(home.dataDir, "PG_VERSION")).catch(() => undefined)) return;
  const passwordFile = join(tmpdir(), `audit-log-${randomBytes(8).toString("hex")}`);
  await writeFile(passwordFile, PASSWORD, { mode: 0o600 });
  try {
    if (home.user.uid !== undefined && home.user.gid !== undefined) {
      await chown(passwordFile, home.user.uid, home.user.gid);
    }
    const child = await startChild(
      join(home.native, "bin", "initdb"),
      [
        `--pgdata=${home.dataDir}`,
        `--username=${USER}`,
        `--pwfile=${passwordFile}`,
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        // The same order of text on every system, whatever locales it has.
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        ...(fast ? ["--no-sync"] : []),
      ],
      { ...home.user, env: environment },
    );
    const end = await child.exited;
    if (end !== "exit code 0") {
      throw new Error(`PostgreSQL could not make its data folder (${end}):\n${child.tail()}`);
    }
  } finally {
    await rm(passwordFile, { force: true });
  }
}

/** Waits for a server that is just ending, and clears the mark of one that was killed. */
async function clearStaleLock(dataDir: string): Promise<void> {
  const file = join(dataDir, "postmaster.pid");
  for (let waited = 0; ; waited += 200) {
    const lines = (await readFile(file, "utf8").catch(() => "")).split("\n");
    const pid = Number.parseInt(lines[0] ?? "", 10);
    if (Number.isNaN(pid)) return;
    const found = spawnSync("ps", ["-p", String(pid), "-o", "stat=,args="], { encoding: "utf8" });
    // Z: it is dead, and nobody has taken note yet (containers without an init process).
    if (!found.stdout?.includes("postgres") || found.stdout.trimStart().startsWith("Z")) {
      await rm(file, { force: true });
      return;
    }
    // Its eighth line is the server's state. One that was told to end a moment ago still says ready.
    if (waited >= (lines[7]?.startsWith("ready") ? 1000 : 8000)) {
      throw new Error(
        `A PostgreSQL server (process ${pid}) already uses ${dataDir}: stop what started it first.`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function launch(home: PostgresHome, port: number, options: PostgresOptions): Promise<Child> {
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    max_connections: "100",
    timezone: "UTC",
    ...(options.fast ? { fsync: "off", synchronous_commit: "off", full_page_writes: "off" } : {}),
  };
  const ready = Promise.withResolvers<"ready">();
  const child = await startChild(
    join(home.native, "bin", "postgres"),
    [
      "-D",
      home.dataDir,
      "-p",
      String(port),
      ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
    ],
    {
      ...home.user,
      env: environment,
      logFile: options.logFile,
      graceMs: 10_000,
      // Fast shutdown; SIGTERM would wait until every client is gone.
      stopSignal: "SIGINT",
      onLine: (line) => {
        if (/database system is ready to accept (read-only )?connections/.test(line))
          ready.resolve("ready");
      },
    },
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<"timeout">((resolve) => {
    timer = setTimeout(() => resolve("timeout"), START_TIMEOUT_MS);
  });
  const first = await Promise.race([ready.promise, child.exited, late]);
  clearTimeout(timer);
  if (first === "ready") return child;
  await child.stop();
  throw new Error(`PostgreSQL did not start (${first}):\n${child.tail()}`);
}

async function ensureDatabase(port: number): Promise<void> {
  const client = new Client({
    connectionString: `postgresql://${USER}:${PASSWORD}@127.0.0.1:${port}/postgres`,
  });
  await client.connect();
  try {
    const found = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [DATABASE]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${DATABASE}`);
  } finally {
    await client.end();
  }
}

/** PostgreSQL itself, on loopback, with the database `audit`. */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const home = await preparePostgresHome(options.dataDir, options.persistent);
  await clearStaleLock(home.dataDir);
  await initialise(home, options.fast ?? false);
  const port = options.port ?? (await freePort());
  const child = await launch(home, port, options);
  const stop = async (): Promise<void> => {
    await child.stop();
    if (options.persistent) return;
    await rm(home.dataDir, { recursive: true, force: true });
    await rm(options.dataDir, { recursive: true, force: true });
  };
  try {
    await ensureDatabase(port);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url: `postgresql://${USER}:${PASSWORD}@127.0.0.1:${port}/${DATABASE}`,
    exited: child.exited,
    tail: child.tail,
    stop,
  };
}
