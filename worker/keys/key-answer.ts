import { z } from "@hono/zod-openapi";
import { type ApiKeyRow, keyRoles } from "../../db/api-keys.ts";

const time = z.iso.datetime().nullable();

export const keySchema = z
  .object({
    id: z.uuid().openapi({ description: "`recorded_by` of the logs that it stores." }),
    name: z.string(),
    roles: z.array(z.enum(keyRoles)),
    created_at: z.iso.datetime(),
    created_by: z.string().openapi({ description: "The sub of the token that made it." }),
    expires_at: time,
    last_used_at: time.openapi({ description: "To the minute." }),
    revoked_at: time,
  })
  .openapi("ApiKey");

export function keyAnswer(row: ApiKeyRow): z.infer<typeof keySchema> {
  return {
    id: row.id,
    name: row.name,
    roles: row.roles,
    created_at: row.createdAt.toISOString(),
    created_by: row.createdBy,
    expires_at: row.expiresAt?.toISOString() ?? null,
    last_used_at: row.lastUsedAt?.toISOString() ?? null,
    revoked_at: row.revokedAt?.toISOString() ?? null,
  };
}
