import type { Recording } from "../../events/new-audit-log.ts";
import { tenantMask } from "../../events/tenant-mask.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import type { TenantSettings } from "../../events/tenant-settings.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { Caller } from "../auth/caller.ts";

/** How a caller's logs are masked and hashed, and in whose name they are recorded. */
export function recordingOf(
  { tenantId, sub }: Pick<Caller, "tenantId" | "sub">,
  config: Config,
  { masking }: TenantSettings,
): Recording {
  const secrets = requireSection(config, "masking");
  const mask = tenantMask(masking, tenantId, secrets);
  return { tenantId, recordedBy: sub, mask, hashSecret: secrets.hashSecret };
}

/** The `user` role writes in its own name only. Row-level security holds the same, but cannot say which entry. */
export function checkOwnName(
  scope: TenantScope,
  named: { path: string; userId: string | null | undefined }[],
): void {
  if (scope.userId === null) return;
  const errors = named
    .filter(({ userId }) => userId !== scope.userId)
    .map(({ path }) => ({ path, message: "must be the token's own sub" }));
  if (errors.length > 0)
    throw new ApiError("forbidden", "The user role creates logs in its own name only.", { errors });
}
