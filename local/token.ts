import { parseArgs } from "node:util";
import { SignJWT } from "jose";
import { readStack } from "./dev-state.ts";
import { LOCAL_JWT_SECRET } from "./stack-settings.ts";

const USAGE = `npm run --silent token -- [--tenant acme] [--role admin,auditor] [--sub alice] [--hours 12]

Prints a token for the local stack. Roles: admin, auditor, writer, user, platform_admin.
The service takes none that is valid for longer than its MAX_TOKEN_AGE, which is 24 hours by default.`;

export type LocalTokenOptions = {
  tenant: string;
  roles: readonly string[];
  sub: string;
  /** How long it is valid; may be a fraction. */
  hours: number;
};

/**
 * A token (JWT) that the local stack takes.
 *
 * @throws TypeError where the stack takes tokens of a public key, whose other half is not here
 */
export function localToken(options: LocalTokenOptions): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  // A running stack may have been given settings of its own.
  const env = { ...readStack()?.env, ...process.env };
  const alg = env["JWT_ALGORITHM"] || "HS256";
  if (!alg.startsWith("HS")) {
    throw new TypeError(
      `JWT_ALGORITHM is ${alg}, and this signs with a secret only: get one from the issuer whose keys JWT_JWKS_URL names`,
    );
  }
  const token = new SignJWT({ tenant_id: options.tenant, roles: [...options.roles] })
    .setProtectedHeader({ alg, typ: "JWT" })
    .setSubject(options.sub)
    .setIssuedAt(now)
    .setExpirationTime(now + Math.round(options.hours * 3600));
  if (env["JWT_ISSUER"]) token.setIssuer(env["JWT_ISSUER"]);
  if (env["JWT_AUDIENCE"]) token.setAudience(env["JWT_AUDIENCE"]);
  return token.sign(new TextEncoder().encode(env["JWT_SECRET"] || LOCAL_JWT_SECRET));
}

function readOptions(args: string[]): LocalTokenOptions | "help" {
  const { values } = parseArgs({
    args,
    options: {
      tenant: { type: "string", default: "acme" },
      role: { type: "string", default: "admin" },
      sub: { type: "string", default: "alice" },
      hours: { type: "string", default: "12" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return "help";
  const roles = values.role
    .split(",")
    .map((role) => role.trim())
    .filter((role) => role !== "");
  const hours = Number(values.hours);
  if (!(hours > 0)) throw new TypeError("--hours is a number above 0");
  if (roles.length === 0) throw new TypeError("--role names at least one role");
  if (values.tenant === "") throw new TypeError("--tenant is not empty");
  return { tenant: values.tenant, roles, sub: values.sub, hours };
}

/** `npm run token` with these arguments; the process's exit code. */
export async function tokenCommand(args: string[]): Promise<number> {
  try {
    const options = readOptions(args);
    console.log(options === "help" ? USAGE : await localToken(options));
    return 0;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    return 2;
  }
}

if (import.meta.main) process.exit(await tokenCommand(process.argv.slice(2)));
