import { chmod, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "./ports.ts";
import { startPostgres } from "./postgres.ts";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-postgres-"));
  // As root, Postgres runs as another user, who must get there.
  await chmod(folder, 0o755);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

test("data survives a restart and a kill, and is durable unless asked otherwise", async () => {
  const options = { dataDir: join(folder, "kept"), persistent: true, port: await freePort() };
  const first = await startPostgres(options);
  expect(new URL(first.url).port).toBe(String(options.port));
  expect(new URL(first.url).pathname).toBe("/audit");
  await query(first.url, "CREATE TABLE kept AS SELECT 'before' AS word");
  const settings = await query(
    first.url,
    `SELECT name, setting FROM pg_settings
     WHERE name IN ('fsync', 'listen_addresses', 'max_connections', 'synchronous_commit') ORDER BY 1`,
  );
  expect(settings).toEqual([
    { name: "fsync", setting: "on" },
    { name: "listen_addresses", setting: "127.0.0.1" },
    { name: "max_connections", setting: "100" },
    { name: "synchronous_commit", setting: "on" },
  ]);
  await first.stop();

  const second = await startPostgres(options);
  const mark = await readFile(join(options.dataDir, "postmaster.pid"), "utf8");
  await query(second.url, "INSERT INTO kept VALUES ('after')");
  process.kill(Number.parseInt(mark, 10), "SIGKILL");
  expect(await second.exited).toBe("ended by SIGKILL");
  // The mark of a killed server is left behind.
  expect(await readFile(join(options.dataDir, "postmaster.pid"), "utf8")).toBe(mark);

  const third = await startPostgres(options);
  expect(await query(third.url, "SELECT word FROM kept ORDER BY 1")).toEqual([
    { word: "after" },
    { word: "before" },
  ]);
  await third.stop();
});

test("data that is not to persist is removed at the end", async () => {
  const dataDir = join(folder, "passing");
  const postgres = await startPostgres({ dataDir, persistent: false, fast: true });
  expect(await query(postgres.url, "SHOW fsync")).toEqual([{ fsync: "off" }]);
  await postgres.stop();
  await expect(stat(dataDir)).rejects.toThrow("ENOENT");
});

test("a start that fails says what the server said", async () => {
  const dataDir = join(folder, "broken");
  const postgres = await startPostgres({ dataDir, persistent: true, fast: true });
  const { port } = new URL(postgres.url);
  await expect(
    startPostgres({
      dataDir: join(folder, "second"),
      port: Number(port),
      persistent: false,
      fast: true,
    }),
  ).rejects.toThrow(/PostgreSQL did not start[^]*could not bind/);
  await expect(startPostgres({ dataDir, persistent: true })).rejects.toThrow(
    /A PostgreSQL server \(process \d+\) already uses/,
  );
  await postgres.stop();
});
