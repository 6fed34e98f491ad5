import type { Context } from "hono";
import type { Database } from "../../db/client.ts";
import type { DeadLetterRow } from "../../db/dead-letters.ts";
import type { RedriveRecord } from "../../db/revive-letters.ts";
import { readSettings } from "../../db/tenants.ts";
import type { AppEnv } from "../env.ts";
import { ownLogOf } from "../own-log.ts";

/**
 * What is stored of a redrive: a log for each export, and one for all messages of logs of a tenant. Of a tenant
 * that is not known nothing is: its name comes from a message, which anyone may have sent who can.
 */
export async function redriveRecords(
  c: Context<AppEnv>,
  db: Database,
  letters: readonly DeadLetterRow[],
): Promise<RedriveRecord[]> {
  const subjects = Map.groupBy(letters, ({ tenantId, exportId }) =>
    JSON.stringify([tenantId, exportId]),
  );
  const tenantIds = new Set(letters.flatMap(({ tenantId }) => tenantId ?? []));
  const settings = await readSettings(db, [...tenantIds]);
  return [...subjects.values()].flatMap((of): RedriveRecord[] => {
    const { tenantId = null, exportId = null } = of[0] ?? {};
    const known = tenantId === null ? undefined : settings.get(tenantId);
    if (tenantId === null || !known) return [];
    const log = ownLogOf(c, tenantId, known, {
      action: "audit_log.dead_letters_redriven",
      ...(exportId === null
        ? { resource_type: "audit_log" }
        : { resource_type: "export", resource_id: exportId }),
    });
    return [{ tenantId, ids: of.map(({ id }) => id), log }];
  });
}
