import { migrateDatabase } from "../db/migrate.ts";
import { readStack, STATE_DIR } from "./dev-state.ts";

/**
 * `npm run db:migrate`: the database of DATABASE_URL, else that of the local stack that runs here.
 * Returns the exit code.
 */
export async function migrateCommand(
  environment: NodeJS.ProcessEnv,
  stateDir = STATE_DIR,
): Promise<number> {
  const databaseUrl = environment["DATABASE_URL"] || readStack(stateDir)?.env["DATABASE_URL"];
  if (!databaseUrl) {
    console.error(
      "DATABASE_URL is not set, and no local stack runs here. Set it to the database to migrate: postgres://user:password@host/name",
    );
    return 2;
  }
  try {
    await migrateDatabase(databaseUrl);
    console.log("The database is up to date.");
    return 0;
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    console.error(
      `The migration failed, and changed nothing: ${cause instanceof Error ? cause.message : String(cause)}`,
    );
    return 1;
  }
}

if (import.meta.main) process.exitCode = await migrateCommand(process.env);
