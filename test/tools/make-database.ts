import pg from "pg";
import { migrateDatabase } from "../../db/migrate.ts";

/**
 * Another migrated database on the same server, for tests that break a whole one, or must have it for themselves.
 *
 * @returns its URL
 */
export async function makeDatabase(serverUrl: string, name: string): Promise<string> {
  const client = new pg.Client(serverUrl);
  await client.connect();
  try {
    await client.query(`create database ${name}`);
  } finally {
    await client.end();
  }
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  await migrateDatabase(url.href);
  return url.href;
}
