import { errors, jwtVerify, type JWTPayload, type JWTVerifyOptions } from "jose";
import { z } from "zod";
import { nameText } from "../../events/tenant-scope.ts";
import type { TokenConfig } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import type { Logger } from "../../platform/logger.ts";
import { type Bearer, type Role, roles } from "./caller.ts";
import { keysAt } from "./key-set.ts";
import { keepBearer, knownBearer } from "./known-tokens.ts";

const clockToleranceSeconds = 5;
/** As far as tokens_not_before may be ahead: no token can outlive that by its own word. */
const maxAheadSeconds = 300;
/** Longer than any token of ours; a longer one is not worth hashing. */
const maxTokenLength = 8_192;

const roleClaim = z.union([z.string(), z.array(z.string()).max(20)]).optional();
const claims = z.object({
  sub: nameText,
  /** A whole number is taken as its digits. */
  tenant_id: z.union([nameText, z.int().transform(String)]).optional(),
  role: roleClaim,
  roles: roleClaim,
  exp: z.number(),
  iat: z.number().optional(),
});

/**
 * The bearer of a token. The algorithm is the one that is configured, whatever the token says of itself. One
 * that was good a moment ago is not verified again.
 *
 * @param authorization the Authorization header
 * @throws ApiError `unauthenticated`, `tenant_missing`, `role_missing` or `token_keys_unavailable`
 */
export async function verifyToken(
  authorization: string | undefined,
  config: TokenConfig,
  logger: Logger,
): Promise<Bearer> {
  const token = /^Bearer ([\w.~+/=-]+)$/i.exec(authorization ?? "")?.[1];
  if (token === undefined) {
    throw unauthenticated(
      "Send a token: Authorization: Bearer <JWT>.",
      authorization === undefined ? undefined : "invalid_request",
    );
  }
  if (token.length > maxTokenLength)
    throw unauthenticated("The token is too long.", "invalid_token");
  const known = knownBearer(token, config);
  if (known) return known;
  const payload = await verified(token, config, logger);
  const parsed = claims.safeParse(payload);
  if (!parsed.success) {
    const names = parsed.error.issues.map((issue) => issue.path[0]).join(", ");
    throw unauthenticated(`The token's claims are not valid: ${names}.`, "invalid_token");
  }
  checkLifetime(parsed.data, config.maxAgeSeconds);
  const tenantId = parsed.data.tenant_id ?? config.defaultTenant;
  const granted = rolesOf(parsed.data, config.defaultRoles);
  if (tenantId === undefined && !granted.has("platform_admin"))
    throw new ApiError("tenant_missing", "The token needs a tenant_id claim.");
  const { sub, exp, iat = 0 } = parsed.data;
  const bearer: Bearer = { tenantId, sub, roles: granted, issuedAt: iat, isKey: false };
  keepBearer(token, config, bearer, exp);
  return bearer;
}

async function verified(token: string, config: TokenConfig, logger: Logger): Promise<JWTPayload> {
  // EdDSA has a second name since RFC 9864, which says the curve.
  const { algorithm } = config.keys;
  const options: JWTVerifyOptions = {
    algorithms: algorithm === "EdDSA" ? ["EdDSA", "Ed25519"] : [algorithm],
    requiredClaims: ["exp", "sub"],
    clockTolerance: clockToleranceSeconds,
    ...(config.issuer === undefined ? {} : { issuer: config.issuer }),
    ...(config.audience === undefined ? {} : { audience: config.audience }),
  };
  try {
    return config.keys.kind === "jwks"
      ? await byPublicKey(token, config.keys.url, options, logger)
      : await bySecret(token, config.keys.secrets, options);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    if (error instanceof errors.JWTExpired)
      throw unauthenticated("The token has expired.", "invalid_token");
    if (error instanceof errors.JWTClaimValidationFailed) {
      throw unauthenticated(
        `The token's claim ${error.claim} is missing or wrong.`,
        "invalid_token",
      );
    }
    throw unauthenticated("The token is not valid.", "invalid_token");
  }
}

async function bySecret(
  token: string,
  [current = "", ...previous]: string[],
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, new TextEncoder().encode(current), options)).payload;
  } catch (error) {
    if (previous.length === 0 || !(error instanceof errors.JWSSignatureVerificationFailed))
      throw error;
    return bySecret(token, previous, options);
  }
}

async function byPublicKey(
  token: string,
  url: string,
  options: JWTVerifyOptions,
  logger: Logger,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(token, keysAt(url, logger), options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    // A token without `kid`, while the issuer changes its key: one of them it is.
    for await (const key of error) {
      try {
        return (await jwtVerify(token, key, options)).payload;
      } catch (failure) {
        if (!(failure instanceof errors.JWSSignatureVerificationFailed)) throw failure;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}

/** Counts from now where the token does not say when it was issued, or says that it was not yet: a little ahead, as clocks differ. */
function checkLifetime({ exp, iat }: { exp: number; iat?: number | undefined }, most: number) {
  const now = Date.now() / 1000;
  if (iat !== undefined && iat > now + maxAheadSeconds)
    throw unauthenticated("The token says that it was issued in the future.", "invalid_token");
  if (exp - Math.min(iat ?? now, now) <= most + clockToleranceSeconds) return;
  throw unauthenticated(`The token is valid for more than ${most} seconds.`, "invalid_token");
}

function rolesOf(token: z.infer<typeof claims>, defaults: Role[]): ReadonlySet<Role> {
  const named = [token.role ?? [], token.roles ?? []].flat();
  // A token that names roles, be they unknown or none, never gets the default.
  const namesNone = token.role === undefined && token.roles === undefined;
  const granted = namesNone ? defaults : roles.filter((role) => named.includes(role));
  if (granted.length === 0) {
    throw new ApiError(
      "role_missing",
      `The token needs a role or roles claim among ${roles.join(", ")}.`,
    );
  }
  return new Set(granted);
}

function unauthenticated(detail: string, error: string | undefined): ApiError {
  const challenge = error === undefined ? "Bearer" : `Bearer error="${error}"`;
  return new ApiError("unauthenticated", detail, { headers: { "WWW-Authenticate": challenge } });
}
