import type { Recording } from "../../events/new-audit-log.ts";
import { type KeyRule, keyRule } from "../../events/mask-rules.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";
import { type Config, requireSection } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { Caller } from "../auth/caller.ts";

const rules = new WeakMap<Config, KeyRule>();

/** How a caller's logs are masked and hashed, and in whose name they are recorded. */
export function recordingOf(caller: Pick<Caller, "tenantId" | "sub">, config: Config): Recording {
  const { hashSecret, extraKeys } = requireSection(config, "masking");
  const rule = rules.get(config) ?? keyRule(extraKeys);
  rules.set(config, rule);
  return { tenantId: caller.tenantId, recordedBy: caller.sub, keyRule: rule, hashSecret };
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

export function tenantUnknown(): ApiError {
  return new ApiError(
    "tenant_unknown",
    "The token's tenant is not known here, and new ones are not made by a token.",
  );
}
