import type { TenantScope } from "./tenant-scope.ts";

/** What a log of the caller's own has as its user_id: one of these. Null where the caller may see all. */
export function ownUserIds({ userId, userHash }: TenantScope): string[] | null {
  if (userId === null) return null;
  return userHash == null ? [userId] : [userId, userHash];
}
