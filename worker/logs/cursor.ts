import { createHash } from "node:crypto";
import { z } from "zod";
import { isUuid } from "../../events/ids.ts";
import type { LogFilter, Order, Total } from "../../events/log-filter.ts";
import type { TenantScope } from "../../events/tenant-scope.ts";

/**
 * Where a list goes on: after this id. It holds a position and no right: tenant and filters come from
 * the request as ever, and a cursor that was made for others is refused, not trusted.
 */
export type Cursor = { after: string; total: Total | null };

const content = z.tuple([
  z.literal(1),
  z.string().refine(isUuid),
  z.int().min(-1),
  z.union([z.literal(0), z.literal(1)]),
  z.string(),
]);

export function encodeCursor(cursor: Cursor, fingerprint: string): string {
  const { after, total } = cursor;
  const parts = [1, after, total?.count ?? -1, total?.isLowerBound ? 1 : 0, fingerprint];
  return btoa(JSON.stringify(parts)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @returns what is wrong with the cursor, as a sentence, where it cannot be used */
export function decodeCursor(text: string, fingerprint: string): Cursor | string {
  const parsed = content.safeParse(parseBase64(text));
  if (!parsed.success) return "is not a cursor: send next_cursor as it was given";
  const [, after, count, isLowerBound, madeFor] = parsed.data;
  if (madeFor !== fingerprint)
    return "belongs to other filters or another order: begin again without a cursor";
  return { after, total: count < 0 ? null : { count, isLowerBound: isLowerBound === 1 } };
}

function parseBase64(text: string): unknown {
  try {
    return JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    return undefined;
  }
}

/** Says of two requests whether they list the same: same caller's view, same filters, same order. */
export function listFingerprint(scope: TenantScope, filter: LogFilter, order: Order): string {
  const canonical = JSON.stringify([scope.tenantId, scope.userId, order, filter]);
  return createHash("sha256").update(canonical).digest("base64url").slice(0, 16);
}
