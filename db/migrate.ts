import { fileURLToPath } from "node:url";
import { drizzle } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/node-postgres/migrator";
import pg from "pg";

/**
 * Brings a database to the newest schema, over the ordinary Postgres protocol: drizzle runs all
 * missing migrations in one transaction there, which its HTTP migrator cannot. Safe to run again,
 * and by two at once.
 *
 * @param databaseUrl Postgres 16 or newer; its user must be able to create roles.
 * @throws when the server cannot be reached, is too old, or refuses a statement.
 */
export async function migrateDatabase(databaseUrl: string): Promise<void> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 15_000,
    statement_timeout: 300_000,
    lock_timeout: 30_000,
  });
  await client.connect();
  try {
    const version = await client.query<{ server_version_num: string }>("show server_version_num");
    if (Number(version.rows[0]?.server_version_num) < 160_000) {
      throw new Error("Postgres 16 or newer is needed.");
    }
    await client.query("select pg_advisory_lock(hashtext('audit-log-service migrations'))");
    await migrate(drizzle(client), {
      migrationsFolder: fileURLToPath(new URL("migrations", import.meta.url)),
    });
  } finally {
    await client.end();
  }
}
