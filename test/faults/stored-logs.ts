import type { AuditLog } from "../../events/audit-log.ts";
import { answerFields, jsonFields } from "../../events/audit-log.ts";
import type { World } from "./world.ts";

/** A log as Postgres has it, and what only its document in the index needs. */
export type StoredLog = AuditLog & { email_hash: string | null; rev: number };

/** Every log of the run, in id order: read past the service. JSON columns are their text. */
export async function readStoredLogs({ database }: World): Promise<StoredLog[]> {
  const columns = [
    ...answerFields,
    "email_hash",
    ...jsonFields.map((field) => `${field}::text as ${field}`),
  ];
  const { rows } = await database.query(
    `select ${columns.join(", ")}, 1 as rev from audit_logs order by id`,
  );
  return rows.map((row) => ({
    ...row,
    created_at: row.created_at.toISOString(),
    occurred_at: row.occurred_at.toISOString(),
  }));
}
