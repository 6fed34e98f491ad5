import { z } from "zod";

/** A tenant's or a caller's name. What Postgres refuses and what UTF-8 would make equal to another name is none. */
export const nameText = z
  .string()
  .min(1, "must not be empty")
  .max(255, "must have at most 255 characters")
  .refine(
    (text) => text.isWellFormed() && !text.includes("\0"),
    "must be valid Unicode without NUL",
  )
  .meta({ pattern: "^[^\\u0000]*$" });

/** What a caller may see: every query of Postgres and of OpenSearch takes one. */
export type TenantScope = {
  tenantId: string;
  /** Set for the `user` role: only logs with this user_id. */
  userId: string | null;
  /** What its user_id is in logs of a tenant that has it hashed: these are its own too. */
  userHash?: string | null;
  /** Of a request: what its tenant's settings are held against. Work of the service itself has none. */
  admission?: Admission;
};

export type Admission = {
  /** Seconds since 1970: when the caller's token was issued. 0 where it does not say, Infinity for no token. */
  issuedAt: number;
  /** Whether a tenant that is not known yet is refused. */
  mustBeKnown: boolean;
  /** Of the tenant's settings that the request goes by, where it goes by any: another is SettingsChanged. */
  settingsVersion?: number;
  /** Is told the tenant's rate tier by each transaction; null where the tenant is not made yet. */
  onRateTier?: (tier: string | null) => void;
};
