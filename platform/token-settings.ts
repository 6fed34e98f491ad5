import { z } from "zod";
import { list, optional, secret } from "./setting-forms.ts";

const secretAlgorithms = ["HS256", "HS384", "HS512"] as const;
const keyAlgorithms = ["RS256", "PS256", "ES256", "EdDSA"] as const;
const algorithms = [...secretAlgorithms, ...keyAlgorithms] as const;
const roleNames = ["admin", "auditor", "writer", "user"] as const;

const unitSeconds = { s: 1, m: 60, h: 3_600, d: 86_400 } as const;
const maxAgeSeconds = 366 * unitSeconds.d;

/** Where keys come from decides who is let in, so the way there must be safe: http:// on the same machine only. */
const keySetUrl = z.string().refine((text) => {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  const isLocal = /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
  return protocol === "https:" || (protocol === "http:" && isLocal);
}, "must be an https:// URL");

/** A time in seconds: `3600`, or with a unit, `90m`, `24h`, `7d`. */
const tokenAge = z
  .string()
  .transform((text) => {
    const [, count, unit = "s"] = /^(\d{1,9})([smhd])?$/.exec(text) ?? [];
    return Number(count) * unitSeconds[unit as keyof typeof unitSeconds];
  })
  .refine(
    (seconds) => seconds >= 60 && seconds <= maxAgeSeconds,
    "must be a time from 60 (seconds) to 366d, such as 3600, 90m, 24h or 7d",
  );

/** What a token's signature is checked with. One kind only, whatever a token says of itself. */
export type TokenKeys =
  | { kind: "secrets"; algorithm: (typeof secretAlgorithms)[number]; secrets: string[] }
  | { kind: "jwks"; algorithm: (typeof keyAlgorithms)[number]; url: string };

export const tokenSection = z
  .object({
    JWT_ALGORITHM: z.enum(algorithms, `must be among ${algorithms.join(", ")}`).default("HS256"),
    JWT_SECRET: secret.optional(),
    JWT_SECRET_PREVIOUS: secret.optional(),
    JWT_JWKS_URL: keySetUrl.optional(),
    JWT_ISSUER: optional,
    JWT_AUDIENCE: optional,
    MAX_TOKEN_AGE: tokenAge.default(unitSeconds.d),
    TENANT_ID: optional,
    DEFAULT_ROLE: optional
      .transform(list)
      .pipe(z.array(z.enum(roleNames, `must be among ${roleNames.join(", ")}`))),
  })
  .transform((env, context) => {
    const keys = tokenKeys(env);
    if ("missing" in keys) {
      context.addIssue({ code: "custom", path: [keys.missing], message: keys.message });
      return z.NEVER;
    }
    return {
      keys,
      issuer: env.JWT_ISSUER,
      audience: env.JWT_AUDIENCE,
      /** From its issue to its end, in seconds. */
      maxAgeSeconds: env.MAX_TOKEN_AGE,
      defaultTenant: env.TENANT_ID,
      defaultRoles: env.DEFAULT_ROLE,
    };
  });

/**
 * The keys of the algorithm. Those of the other kind are not used, and are no mistake: a secret that is taken
 * out of the file of variables stays with the Workers.
 */
function tokenKeys(env: {
  JWT_ALGORITHM: (typeof algorithms)[number];
  JWT_SECRET?: string | undefined;
  JWT_SECRET_PREVIOUS?: string | undefined;
  JWT_JWKS_URL?: string | undefined;
}): TokenKeys | { missing: string; message: string } {
  const secretAlgorithm = secretAlgorithms.find((name) => name === env.JWT_ALGORITHM);
  if (secretAlgorithm !== undefined) {
    if (env.JWT_SECRET === undefined) return { missing: "JWT_SECRET", message: "is not set" };
    const secrets = [env.JWT_SECRET, env.JWT_SECRET_PREVIOUS].filter((key) => key !== undefined);
    return { kind: "secrets", algorithm: secretAlgorithm, secrets };
  }
  const algorithm = keyAlgorithms.find((name) => name === env.JWT_ALGORITHM) ?? "RS256";
  if (env.JWT_JWKS_URL === undefined) {
    const message = "is not set, but JWT_ALGORITHM is one of public keys";
    return { missing: "JWT_JWKS_URL", message };
  }
  return { kind: "jwks", algorithm, url: env.JWT_JWKS_URL };
}
