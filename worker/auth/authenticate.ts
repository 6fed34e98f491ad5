import { type Config, requireSection } from "../../platform/config.ts";
import type { Logger } from "../../platform/logger.ts";
import type { Bearer } from "./caller.ts";
import { verifyKey } from "./verify-key.ts";
import { verifyToken } from "./verify-token.ts";

/**
 * Who calls, by a token or by an API key. What begins as a key is never looked at as a token.
 *
 * @param authorization the Authorization header
 * @param beforeLookup is awaited before the database is asked for a key, and may throw
 * @throws ApiError as verifyToken and verifyKey do, or `misconfigured`
 */
export async function authenticate(
  authorization: string | undefined,
  config: Config,
  logger: Logger,
  beforeLookup: () => Promise<void>,
): Promise<Bearer> {
  const key = /^Bearer (al_.*)$/i.exec(authorization ?? "")?.[1];
  return key === undefined
    ? verifyToken(authorization, requireSection(config, "tokens"), logger)
    : verifyKey(key, requireSection(config, "database"), beforeLookup);
}
