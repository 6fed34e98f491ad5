import { and, eq, gte, sql } from "drizzle-orm";
import { z } from "zod";
import type { DatabaseConfig } from "../platform/config.ts";
import {
  asExporter,
  connectReplica,
  type Database,
  DatabaseUnavailable,
  walPosition,
  type WalPosition,
} from "./client.ts";
import type { Claim } from "./export-work.ts";
import { exportPipelines } from "./schema.ts";

const pollMs = 500;
const positionRow = z.object({ position: z.string() });

/**
 * What a replica must have replayed to show an export everything that it covers. Ask the primary, once
 * isSettled has said that every log below the export's bound is there.
 */
export async function readWalPosition(db: Database, tenantId: string): Promise<WalPosition> {
  const [result] = await asExporter(db, tenantId, [
    db.execute(sql`select ${walPosition} as position`),
  ]);
  return positionRow.parse(result.rows[0]).position;
}

/**
 * Where the rows of an export are read from: the replica, if it has replayed `replayedTo` or does so in
 * time, else the primary. It must also show the claim's fence: a database that is no replica of this one,
 * such as a branch or a restored copy, cannot know it, whatever it says of its log.
 *
 * @param waitMs how long the replica may take to catch up
 */
export async function databaseForExport(
  primary: Database,
  config: DatabaseConfig | undefined,
  claim: Claim,
  replayedTo: WalPosition,
  waitMs = 5_000,
): Promise<Database> {
  if (!config) return primary;
  const replica = connectReplica(config, replayedTo);
  for (const until = Date.now() + waitMs; ;) {
    if (await showsClaim(replica, claim)) return replica;
    if (Date.now() + pollMs > until) return primary;
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

async function showsClaim(replica: Database, { tenantId, id, fence }: Claim): Promise<boolean> {
  const query = replica
    .select({ id: exportPipelines.id })
    .from(exportPipelines)
    .where(
      and(
        eq(exportPipelines.tenantId, tenantId),
        eq(exportPipelines.id, id),
        gte(exportPipelines.fence, fence),
      ),
    );
  try {
    const [rows] = await asExporter(replica, tenantId, [query]);
    return rows.length > 0;
  } catch (error) {
    if (error instanceof DatabaseUnavailable) return false;
    throw error;
  }
}
