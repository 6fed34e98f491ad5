import type { Client } from "@opensearch-project/opensearch";
import { z } from "zod";
import { idTime } from "../events/ids.ts";
import { tenantWall } from "./build-query.ts";
import { newAlias, oldAlias, readAlias } from "./index-template.ts";

/** What one call did. `isWhole`: nothing was left that it could see. */
export type RemovedDocuments = { removed: number; isWhole: boolean };

const answer = z.object({
  deleted: z.number(),
  version_conflicts: z.number(),
  timed_out: z.boolean(),
  failures: z.array(z.unknown()),
});

/** All that searches read, and both indices of a month that is being reindexed. */
const everywhere = [readAlias, newAlias("*"), oldAlias("*")];

/**
 * Removes a tenant's documents up to an id, inclusive; searches miss them from then on. What was written and
 * not refreshed yet is not seen.
 *
 * @param limit documents at most
 * @throws when the cluster does not take the request
 */
export async function removeIndexed(
  client: Client,
  tenantId: string,
  throughId: string,
  limit: number,
): Promise<RemovedDocuments> {
  const at = { format: "epoch_millis" };
  const time = idTime(throughId);
  const before = { range: { created_at: { lt: time, ...at } } };
  // A boundary is an id, and others of its millisecond may stay.
  const sameTime = [
    { range: { created_at: { gte: time, lte: time, ...at } } },
    { range: { id: { lte: throughId } } },
  ];
  const { body } = await client.deleteByQuery({
    index: everywhere,
    routing: tenantId,
    ignore_unavailable: true,
    // Written by another meanwhile: it is counted, and tried again.
    conflicts: "proceed",
    refresh: true,
    max_docs: limit,
    body: {
      query: {
        bool: {
          filter: [
            ...tenantWall({ tenantId, userId: null }),
            { bool: { should: [before, { bool: { filter: sameTime } }], minimum_should_match: 1 } },
          ],
        },
      },
    },
  });
  const { deleted, version_conflicts: conflicts, timed_out: isCut, failures } = answer.parse(body);
  return {
    removed: deleted,
    isWhole: deleted < limit && conflicts === 0 && failures.length === 0 && !isCut,
  };
}
