import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { idMonth } from "../events/ids.ts";
import { writeAlias } from "./index-template.ts";

/** A document as the index keeps it; undefined where it has none. */
export type StoredDocument = { version: number; source: Record<string, unknown> } | undefined;

const answer = z.object({
  docs: z.array(
    z.object({
      _id: z.string(),
      found: z.boolean().optional(),
      _version: z.number().optional(),
      _source: z.record(z.string(), z.unknown()).optional(),
    }),
  ),
});

/**
 * Reads documents by their ids, also what no search sees before the next refresh.
 *
 * @returns by id; without those of months that have no index
 */
export async function readDocuments(
  client: Client,
  logs: readonly { id: string; tenant_id: string }[],
): Promise<Map<string, StoredDocument>> {
  const docs = logs.map((log) => ({
    _index: writeAlias(idMonth(log.id)),
    _id: log.id,
    routing: log.tenant_id,
  }));
  const { body } = await client.mget({ body: { docs } });
  const read = new Map<string, StoredDocument>();
  for (const { _id: id, found, _version: version, _source: source } of answer.parse(body).docs) {
    if (found === undefined) continue;
    read.set(id, found && version !== undefined && source ? { version, source } : undefined);
  }
  return read;
}
