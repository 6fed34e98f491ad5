import { z } from "@hono/zod-openapi";
import { type ApiKeyRow, keyRoles } from "../../db/api-keys.ts";
import { time } from "../answer-fields.ts";

export const keySchema = z
  .object({
    id: z.uuid().openapi({
      description: "`recorded_by` of the logs that it stores.",
      examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
    }),
    name: z
      .string()
      .openapi({ description: "For people: what it is for.", examples: ["billing service"] }),
    roles: z
      .array(z.enum(keyRoles))
      .openapi({ description: "What it may do.", examples: [["writer"]] }),
    created_at: time("When it was made."),
    created_by: z
      .string()
      .openapi({ description: "The `sub` of the token that made it.", examples: ["alice"] }),
    expires_at: time("It is refused from then on; null where it does not expire.").nullable(),
    last_used_at: time("To the minute; null where it was not used.").nullable(),
    revoked_at: time("When it was revoked; null where it was not.").nullable(),
  })
  .openapi("ApiKey", { description: "An API key, without what it is used with." });

export const keyId = z.guid("must be a UUID").openapi({
  format: "uuid",
  description: "The key's id.",
  examples: ["019c137e-5b0a-7c3e-8a52-3f1d5c0b9a11"],
});

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
