import { createHash } from "node:crypto";
import { type FoundKey, findApiKey } from "../../db/api-keys.ts";
import { connectDatabase } from "../../db/client.ts";
import { repeatable } from "../../db/repeatable.ts";
import type { DatabaseConfig } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { Bearer } from "./caller.ts";

/** How long a revoked key may still be let in by an isolate that knows it. */
const keepMs = 30_000;
/** A key that does not exist will not come to exist: this spares the database the same question. */
const keepUnknownMs = 10_000;
const maxKept = 10_000;
const touchMs = 60_000;

const known = new Map<string, { key: FoundKey; readAt: number }>();
/** Apart from those that exist, so that made-up keys push none of these out. */
const unknown = new Map<string, number>();
const touched = new Map<string, number>();

export const keyPrefix = "al_";

/** Both the key that is made and the one that is sent: 32 random bytes in base64url. */
export function keyHash(key: string): string {
  return createHash("sha256").update(key).digest("hex");
}

/**
 * The bearer of an API key. A key that does not exist, is revoked or has expired is answered the same.
 *
 * @param beforeLookup is awaited before the database is asked, and may throw
 * @throws ApiError `unauthenticated`, or `database_unavailable` where the key is not known yet
 */
export async function verifyKey(
  sent: string,
  config: DatabaseConfig,
  beforeLookup: () => Promise<void>,
): Promise<Bearer> {
  const key = /^al_[\w-]{43}$/.test(sent) ? await keyOf(keyHash(sent), config, beforeLookup) : null;
  if (!key || key.expiresAt <= Date.now()) {
    throw new ApiError("unauthenticated", "The API key is not valid.", {
      headers: { "WWW-Authenticate": 'Bearer error="invalid_token"' },
    });
  }
  const { id, tenantId, roles } = key;
  return { tenantId, sub: id, roles: new Set(roles), issuedAt: Infinity, isKey: true };
}

async function keyOf(
  hash: string,
  config: DatabaseConfig,
  beforeLookup: () => Promise<void>,
): Promise<FoundKey | null> {
  const now = Date.now();
  const kept = known.get(hash);
  if (kept && now - kept.readAt < keepMs) return kept.key;
  if (now - (unknown.get(hash) ?? 0) < keepUnknownMs) return null;
  await beforeLookup();
  const key = await repeatable(() => findApiKey(connectDatabase(config), hash));
  if (key) {
    keep(known, hash, { key, readAt: now });
  } else {
    known.delete(hash);
    keep(unknown, hash, now);
  }
  return key;
}

/** Whether the key's use is to be noted now: each isolate asks for it once a minute. */
export function isToTouch(id: string): boolean {
  const now = Date.now();
  if (now - (touched.get(id) ?? 0) < touchMs) return false;
  keep(touched, id, now);
  return true;
}

function keep<T>(map: Map<string, T>, name: string, value: T): void {
  if (map.size >= maxKept) map.clear();
  map.set(name, value);
}
