import type { Context } from "hono";
import type { AppEnv } from "../env.ts";
import { isWithin, rateLimited } from "./limit-rate.ts";
import { keyLookupBinding, keyLookupLimit, windowSeconds } from "./rate-limits.ts";

/**
 * Counts an API key that this isolate does not know, before the database is asked for it: made-up keys would
 * cost a round trip each. All else that is not signed in costs no more than the check of a signature.
 *
 * @throws ApiError `rate_limited`
 */
export async function limitKeyLookups(c: Context<AppEnv>): Promise<void> {
  // Set by Cloudflare, whatever the client sent; elsewhere there is none.
  const address = c.req.header("CF-Connecting-IP");
  if (address === undefined || (await isWithin(c, keyLookupBinding, networkOf(address)))) return;
  c.var.event["limit"] = "key-lookups";
  throw rateLimited(
    `There were more than ${keyLookupLimit} API keys from your address in ${windowSeconds} seconds. Wait, then try again.`,
  );
}

/** An IPv4 address as it is; of an IPv6 address its first 64 bits, since a customer has that many or more. */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [before = "", after] = address.toLowerCase().split("::");
  const groups = (part: string) => (part === "" ? [] : part.split(":"));
  const [head, tail] = [groups(before), groups(after ?? "")];
  const gap = after === undefined ? 0 : Math.max(0, 8 - head.length - tail.length);
  return [...head, ...Array<string>(gap).fill("0"), ...tail]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":");
}
