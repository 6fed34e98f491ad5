import { type SQL } from "drizzle-orm";
import { connectDatabase } from "../../db/client.ts";
import { workerEnv } from "./tools.ts";

/** A connection as the owner, who is above every policy. */
export function ownerOf(url = workerEnv["DATABASE_URL"] ?? "") {
  return connectDatabase({ url, fetchEndpoint: workerEnv["NEON_FETCH_ENDPOINT"] });
}

export async function rowsOf(query: SQL, url?: string): Promise<Record<string, unknown>[]> {
  return (await ownerOf(url).execute(query)).rows;
}
