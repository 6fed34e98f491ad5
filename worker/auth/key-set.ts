import { createLocalJWKSet, errors, type JWTVerifyGetKey } from "jose";
import { z } from "zod";
import { ApiError, reasonOf } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";

/** Keys as old as this are fetched anew before they are used. */
const freshMs = 600_000;
/** Where that fails they are used on for so long: an issuer may be down for a night. */
const staleMs = 86_400_000;
/** Between two fetches by one isolate, whatever they are for. */
const pauseMs = 60_000;
/** The same while there are no keys at all. */
const pauseWithoutKeysMs = 1_000;
const timeoutMs = 3_000;
const maxBytes = 65_536;
const maxKeys = 50;

const keySet = z.object({
  keys: z
    .array(z.looseObject({ kty: z.string() }))
    .min(1)
    .max(maxKeys),
});

/** What an isolate knows of a key set: data only, since no request may wait for another one's answer. */
type Source = {
  keys: { find: JWTVerifyGetKey; fetchedAt: number } | undefined;
  /** When the last fetch began, and whether it is under way. */
  triedAt: number;
  isFetching: boolean;
};
const sources = new Map<string, Source>();

/**
 * Finds the public key of a token in the issuer's set (RFC 7517), which each isolate keeps.
 *
 * - It is fetched anew every 10 minutes, and where a token names a key that is not in it, but once a minute
 *   at most: so an issuer adds a key and removes another without any word, and made-up ids cost nothing.
 * - Where the issuer's host does not answer, the keys that are known are used for 24 hours more.
 *
 * The function throws errors of jose for a token without a key here, and ApiError `token_keys_unavailable`
 * where there are no keys to look in.
 */
export function keysAt(url: string, logger: Logger): JWTVerifyGetKey {
  return async (header, token) => {
    const source = sources.get(url) ?? { keys: undefined, triedAt: 0, isFetching: false };
    sources.set(url, source);
    const age = () => (source.keys ? Date.now() - source.keys.fetchedAt : Infinity);
    if (age() > freshMs) await refresh(source, url, logger, age() > staleMs);
    const { keys } = source;
    if (!keys || age() > staleMs) throw unavailable();
    try {
      return await keys.find(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      await refresh(source, url, logger, true);
      // No other key set, no other answer.
      if (source.keys === undefined || source.keys === keys) throw error;
      return source.keys.find(header, token);
    }
  };
}

/** Fetches the set, unless it was tried lately. `waits`: for the fetch of another request, where one is under way. */
async function refresh(source: Source, url: string, logger: Logger, waits: boolean): Promise<void> {
  const sinceTried = () => Date.now() - source.triedAt;
  // By the clock too: a request that was cut off never says that it is over.
  const isUnderWay = () => source.isFetching && sinceTried() < timeoutMs;
  if (isUnderWay()) {
    if (!waits) return;
    const known = source.keys;
    for (let n = 0; n < timeoutMs / 20 && isUnderWay() && source.keys === known; n += 1)
      await new Promise((resolve) => setTimeout(resolve, 20));
    return;
  }
  if (sinceTried() < (source.keys ? pauseMs : pauseWithoutKeysMs)) return;
  Object.assign(source, { triedAt: Date.now(), isFetching: true });
  try {
    source.keys = { find: createLocalJWKSet(await fetchKeySet(url)), fetchedAt: Date.now() };
  } catch (error) {
    logger.warning("token_keys_not_fetched", { reason: reasonOf(error) });
  } finally {
    source.isFetching = false;
  }
}

async function fetchKeySet(url: string): Promise<z.infer<typeof keySet>> {
  // No redirect: the operator named the host that is trusted.
  const response = await fetch(url, {
    headers: { Accept: "application/json" },
    redirect: "manual",
    signal: AbortSignal.timeout(timeoutMs),
  });
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`the issuer answered ${response.status}`);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new Error(`the key set is larger than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  const parsed = keySet.safeParse(JSON.parse(await new Blob(chunks).text()));
  if (!parsed.success) throw new Error("what the issuer answered is no key set with keys");
  return parsed.data;
}

function unavailable(): ApiError {
  return new ApiError(
    "token_keys_unavailable",
    "The keys that tokens are checked with cannot be had from their issuer. Try again.",
  );
}
