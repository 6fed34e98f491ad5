import { isMaskHash } from "../../events/mask-hash.ts";
import type { Admission, TenantScope } from "../../events/tenant-scope.ts";
import { ApiError } from "../../platform/errors.ts";

/** What a token may do within its tenant. */
const tenantRoles = ["admin", "auditor", "writer", "user"] as const;
export type TenantRole = (typeof tenantRoles)[number];

/** The platform admin runs the service, for every tenant, and has no way to a log: that takes another role. */
export const roles = [...tenantRoles, "platform_admin"] as const;
export type Role = (typeof roles)[number];

/** Who calls, as the token says. */
export type Caller = {
  tenantId: string;
  /** The token's subject. */
  sub: string;
  /** Of the `sub`, as logs have it whose user_id is hashed; null without the `user` role, and where HASH_SECRET is not set. */
  subHash: string | null;
  roles: ReadonlySet<Role>;
  admission: Admission;
};

/** In whose name a request is recorded, whatever its access. */
export type Actor = Pick<Bearer, "sub" | "isKey">;

/** Whose token it is. One with no other role than `platform_admin` needs no tenant. */
export type Bearer = {
  tenantId: string | undefined;
  sub: string;
  roles: ReadonlySet<Role>;
  /** As Admission has it. */
  issuedAt: number;
  /** Whether it is an API key and no token; `sub` is the key's id then. */
  isKey: boolean;
};

/** What a caller may read: with no more than the `user` role, only logs of its own user_id. */
export function readScope(caller: Caller): TenantScope {
  const seesAll = caller.roles.has("admin") || caller.roles.has("auditor");
  return scopeOf(caller, seesAll);
}

/** What a caller may write: with no more than the `user` role, only logs in its own name. */
export function writeScope(caller: Caller): TenantScope {
  const writesAll = caller.roles.has("admin") || caller.roles.has("writer");
  return scopeOf(caller, writesAll);
}

function scopeOf(
  { tenantId, sub, subHash, admission }: Caller,
  isWholeTenant: boolean,
): TenantScope {
  if (isWholeTenant) return { tenantId, userId: null, admission };
  // Else who may choose its name could name the hash of another one's, and see what is behind it.
  if (isMaskHash(sub))
    throw new ApiError("forbidden", "A sub of the form hash:… cannot have the user role alone.");
  return { tenantId, userId: sub, userHash: subHash, admission };
}
