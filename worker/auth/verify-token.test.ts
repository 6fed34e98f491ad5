import { generateKeyPair, SignJWT } from "jose";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { TokenConfig } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { createLogger } from "../../platform/logger.ts";
import { verifyToken } from "./verify-token.ts";

const secret = "a secret of the tests, long enough to sign with HS512 and all of its bytes";
const config: TokenConfig = {
  keys: { kind: "secrets", algorithm: "HS256", secrets: [secret] },
  issuer: undefined,
  audience: undefined,
  maxAgeSeconds: 86_400,
  defaultTenant: undefined,
  defaultRoles: [],
};
const logger = createLogger("test", "ERROR");
const bearerOf = (authorization: string | undefined) => verifyToken(authorization, config, logger);
const signedBy = (algorithm: "HS256" | "HS384" | "HS512", ...secrets: string[]) => ({
  keys: { kind: "secrets", algorithm, secrets } as const,
});
const forever = { maxAgeSeconds: Infinity };
const nowSeconds = () => Math.floor(Date.now() / 1000);
const goodClaims = () => ({
  tenant_id: "acme",
  role: "admin",
  sub: "alice",
  exp: nowSeconds() + 3600,
});
const bytesOf = (text: string) => new TextEncoder().encode(text);
const base64url = (value: string | Uint8Array) =>
  (typeof value === "string" ? bytesOf(value) : value).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });

/** A token of any header and payload, signed by HMAC whatever its header says. */
async function rawToken(
  header: object,
  payload: object | string | Uint8Array,
  key = secret,
  hash = "SHA-256",
): Promise<string> {
  const body =
    payload instanceof Uint8Array || typeof payload === "string"
      ? payload
      : JSON.stringify(payload);
  const signed = `${base64url(JSON.stringify(header))}.${base64url(body)}`;
  const hmac = await crypto.subtle.importKey("raw", bytesOf(key), { name: "HMAC", hash }, false, [
    "sign",
  ]);
  const mac = await crypto.subtle.sign("HMAC", hmac, bytesOf(signed));
  return `${signed}.${base64url(new Uint8Array(mac))}`;
}
const tokenOf = (claims: object) => rawToken({ alg: "HS256" }, { ...goodClaims(), ...claims });
const verify = (token: string, changes: Partial<TokenConfig> = {}) =>
  verifyToken(`Bearer ${token}`, { ...config, ...changes }, logger);

async function refusal(asked: Promise<unknown>): Promise<ApiError> {
  const error = await asked.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof ApiError)) throw new Error(`was not refused: ${String(error)}`);
  return error;
}
const expectInvalid = async (asked: Promise<unknown>, detail = /./) => {
  const error = await refusal(asked);
  expect(error.code).toBe("unauthenticated");
  expect(error.message).toMatch(detail);
  expect(error.headers["WWW-Authenticate"]).toBe('Bearer error="invalid_token"');
};

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a valid token", () => {
  test("says who calls, for which tenant, in which roles", async () => {
    expect(await verify(await tokenOf({}))).toEqual({
      tenantId: "acme",
      sub: "alice",
      roles: new Set(["admin"]),
      issuedAt: 0,
      isKey: false,
    });
    expect((await verify(await tokenOf({ iat: 1_000, exp: nowSeconds() }), forever)).issuedAt).toBe(
      1_000,
    );
  });

  test("may have its scheme in any letter case", async () => {
    expect((await bearerOf(`bearer ${await tokenOf({})}`)).sub).toBe("alice");
  });

  test.each([
    ["HS384", "SHA-384"],
    ["HS512", "SHA-512"],
  ] as const)("may be signed by %s where that is configured", async (algorithm, hash) => {
    const token = await rawToken({ alg: algorithm }, goodClaims(), secret, hash);
    expect((await verify(token, signedBy(algorithm, secret))).sub).toBe("alice");
    await expectInvalid(verify(token));
  });

  test("is taken for some seconds after it has expired, and before it begins: clocks differ", async () => {
    expect((await verify(await tokenOf({ exp: nowSeconds() - 2 }))).sub).toBe("alice");
    expect((await verify(await tokenOf({ nbf: nowSeconds() + 2 }))).sub).toBe("alice");
  });
});

describe("a token that was good a moment ago", () => {
  test("is not verified again, and by another configuration it is", async () => {
    const token = await tokenOf({ sub: "once" });
    const check = vi.spyOn(crypto.subtle, "verify");
    const first = await bearerOf(`Bearer ${token}`);
    expect(await bearerOf(`Bearer ${token}`)).toEqual(first);
    expect(check).toHaveBeenCalledTimes(1);
    await expectInvalid(verify(token, signedBy("HS256", `${secret} of others`)));
    expect(check).toHaveBeenCalledTimes(2);
  });

  test("excuses no other that differs in one letter, however often it comes", async () => {
    const token = await tokenOf({});
    await bearerOf(`Bearer ${token}`);
    const changed = `${token.slice(0, -2)}${token.at(-2) === "A" ? "B" : "A"}${token.at(-1)}`;
    for (const _ of [1, 2]) await expectInvalid(bearerOf(`Bearer ${changed}`));
  });
});

describe("the secret", () => {
  const [older, newer] = [`${secret} before`, `${secret} now`];

  test("may be changed while tokens of the one before are about", async () => {
    const rotated = signedBy("HS256", newer, older);
    for (const key of [newer, older]) {
      const token = await rawToken({ alg: "HS256" }, goodClaims(), key);
      expect((await verify(token, rotated)).sub).toBe("alice");
    }
    await expectInvalid(verify(await tokenOf({}), rotated), /^The token is not valid\.$/);
  });

  test("before the last excuses no claim, and signs nothing once it is gone", async () => {
    const old = (claims: object) =>
      rawToken({ alg: "HS256" }, { ...goodClaims(), ...claims }, older);
    const rotated = signedBy("HS256", newer, older);
    await expectInvalid(verify(await old({ exp: nowSeconds() - 60 }), rotated), /expired/);
    await expectInvalid(verify(await old({}), signedBy("HS256", newer)));
  });
});

describe("the lifetime of a token", () => {
  const hour = { maxAgeSeconds: 3_600 };
  const now = nowSeconds;

  test.each([
    ["from its issue", () => ({ iat: now() - 600, exp: now() + 3_000 })],
    ["from now, where it does not say when it was issued", () => ({ exp: now() + 3_600 })],
  ])("counts %s, and may be as long as is configured", async (_, claims) => {
    expect((await verify(await tokenOf(claims()), hour)).sub).toBe("alice");
  });

  test.each([
    ["a minute too long", () => ({ iat: now(), exp: now() + 3_660 })],
    ["too long though most of it is over", () => ({ iat: now() - 3_600, exp: now() + 60 })],
    ["too long, and its issue is not told", () => ({ exp: now() + 3_660 })],
    ["longer than any number", () => ({ exp: 1e300 })],
  ])("is refused where it is %s", async (_, claims) => {
    await expectInvalid(verify(await tokenOf(claims()), hour), /more than 3600 seconds/);
  });

  test.each([301, 31_536_000, 1e15, 1e300])(
    "is refused where its issue is %d seconds ahead: it would outlive tokens_not_before",
    async (ahead) => {
      const token = await tokenOf({ iat: now() + ahead, exp: now() + 60 });
      await expectInvalid(verify(token, hour), /issued in the future/);
      const later = await tokenOf({ iat: now() + 290, exp: now() + 3_600 });
      expect((await verify(later, hour)).sub).toBe("alice");
    },
  );

  test("is refused where its issue is no number", async () => {
    await expectInvalid(verify(await tokenOf({ iat: "today" }), hour), /iat/);
  });
});

describe("no token", () => {
  test("is challenged without an error, as RFC 6750 has it", async () => {
    const error = await refusal(bearerOf(undefined));
    expect(error.code).toBe("unauthenticated");
    expect(error.headers["WWW-Authenticate"]).toBe("Bearer");
  });

  test.each([
    "",
    "Bearer",
    "Bearer ",
    "Basic YTpi",
    "Token x.y.z",
    "Bearer a b",
    "Bearer é",
    "Bearer {}",
    "Bearerx.y.z",
    " Bearer x",
    "Bearer x\n",
  ])("%j is an invalid request", async (header) => {
    const error = await refusal(bearerOf(header));
    expect(error.code).toBe("unauthenticated");
    expect(error.headers["WWW-Authenticate"]).toBe('Bearer error="invalid_request"');
  });
});

describe("a forged token is refused", () => {
  test.each(["none", "None", "NONE", "nOnE", "", undefined])(
    "where its algorithm is %j",
    async (alg) => {
      const header = base64url(JSON.stringify({ alg }));
      const payload = base64url(JSON.stringify(goodClaims()));
      await expectInvalid(verify(`${header}.${payload}.`), /^The token is not valid\.$/);
      await expectInvalid(verify(`${header}.${payload}`), /^The token is not valid\.$/);
      await expectInvalid(
        verify(await rawToken({ alg }, goodClaims())),
        /^The token is not valid\.$/,
      );
    },
  );

  test("where it is signed by a public key's algorithm, or says so", async () => {
    for (const alg of ["RS256", "ES256"]) {
      const { privateKey } = await generateKeyPair(alg);
      const token = await new SignJWT(goodClaims()).setProtectedHeader({ alg }).sign(privateKey);
      await expectInvalid(verify(token));
      await expectInvalid(verify(await rawToken({ alg }, goodClaims())));
    }
  });

  test("where it is signed by another HMAC than the configured one", async () => {
    await expectInvalid(verify(await rawToken({ alg: "HS512" }, goodClaims(), secret, "SHA-512")));
    await expectInvalid(verify(await tokenOf({}), signedBy("HS512", secret)));
  });

  test("where it is signed with another secret, with none, or not at all", async () => {
    for (const key of [`${secret}x`, secret.slice(0, -1), secret.toUpperCase(), " "]) {
      await expectInvalid(verify(await rawToken({ alg: "HS256" }, goodClaims(), key)));
    }
    const token = await tokenOf({});
    await expectInvalid(verify(`${token.slice(0, token.lastIndexOf("."))}.`));
  });

  test("where a part of it was changed or exchanged", async () => {
    const [header = "", payload = "", mac = ""] = (await tokenOf({})).split(".");
    const others = (await tokenOf({ tenant_id: "globex" })).split(".");
    await expectInvalid(verify([header, others[1], mac].join(".")));
    await expectInvalid(verify([header, payload, others[2]].join(".")));
    await expectInvalid(
      verify([base64url(JSON.stringify({ alg: "HS256", typ: "JWT" })), payload, mac].join(".")),
    );
    const other = mac.startsWith("A") ? "B" : "A";
    await expectInvalid(verify([header, payload, `${other}${mac.slice(1)}`].join(".")));
    await expectInvalid(verify([header, payload, mac, mac].join(".")));
  });

  test("where it brings its own key, or asks for an extension", async () => {
    const jwk = { kty: "oct", k: base64url("attacker") };
    await expectInvalid(
      verify(
        await rawToken(
          { alg: "HS256", jwk, jku: "https://evil.example", kid: "../../dev/null" },
          goodClaims(),
          "attacker",
        ),
      ),
    );
    await expectInvalid(verify(await rawToken({ alg: "HS256", crit: ["x"], x: 1 }, goodClaims())));
    await expectInvalid(
      verify(await rawToken({ alg: "HS256", crit: ["b64"], b64: false }, goodClaims())),
    );
  });

  test.each([
    "x",
    "x.y",
    "x.y.z",
    "..",
    "....",
    "a.b.c.d.e",
    "=",
    "e30.e30.e30",
    "bnVsbA.bnVsbA.bnVsbA",
  ])("where it is %j", async (token) => {
    await expectInvalid(verify(token));
  });

  test("where it is longer than any token of ours, without a look at it", async () => {
    await expectInvalid(verify("x".repeat(8193)), /too long/);
    await expectInvalid(verify(await tokenOf({ note: "x".repeat(8192) })), /too long/);
  });
});

describe("a signed token is refused", () => {
  test.each([
    ["it expired longer ago than the tolerance", () => ({ exp: nowSeconds() - 8 }), /expired/],
    ["it never expires", () => ({ exp: undefined }), /exp/],
    ["exp is no number", () => ({ exp: "tomorrow" }), /exp/],
    ["exp is null", () => ({ exp: null }), /exp/],
    ["it is not valid yet", () => ({ nbf: nowSeconds() + 60 }), /nbf/],
    ["nbf is no number", () => ({ nbf: "yesterday" }), /nbf/],
    ["it names nobody", () => ({ sub: undefined }), /sub/],
    ["sub is empty", () => ({ sub: "" }), /sub/],
    ["sub is a number", () => ({ sub: 7 }), /sub/],
    ["sub is too long", () => ({ sub: "x".repeat(256) }), /sub/],
    ["tenant_id is empty", () => ({ tenant_id: "" }), /tenant_id/],
    ["tenant_id is a boolean", () => ({ tenant_id: true }), /tenant_id/],
    ["tenant_id is null", () => ({ tenant_id: null }), /tenant_id/],
    ["tenant_id is a list", () => ({ tenant_id: ["acme"] }), /tenant_id/],
    ["tenant_id is an object", () => ({ tenant_id: { id: "acme" } }), /tenant_id/],
    ["tenant_id is a fraction", () => ({ tenant_id: 1.5 }), /tenant_id/],
    ["tenant_id is too long", () => ({ tenant_id: "x".repeat(256) }), /tenant_id/],
    ["role is a number", () => ({ role: 1 }), /role/],
    ["role is an object", () => ({ role: { admin: true } }), /role/],
    ["roles holds what is no text", () => ({ roles: ["admin", 1] }), /roles/],
    [
      "there are too many roles",
      () => ({ roles: Array.from({ length: 21 }, () => "admin") }),
      /roles/,
    ],
  ] as const)("where %s", async (_, claims, detail) => {
    await expectInvalid(
      verify(await tokenOf(claims()), { defaultTenant: "house", defaultRoles: ["admin"] }),
      detail,
    );
  });

  test("where its tenant is a number that JSON cannot hold: two tenants must not become one", async () => {
    const text = (number: string) =>
      JSON.stringify({ ...goodClaims(), tenant_id: 0 }).replace(
        '"tenant_id":0',
        `"tenant_id":${number}`,
      );
    for (const number of ["9007199254740993", "1e400", "123456789012345678901"]) {
      await expectInvalid(verify(await rawToken({ alg: "HS256" }, text(number))), /tenant_id/);
    }
    expect((await verify(await rawToken({ alg: "HS256" }, text("4711")))).tenantId).toBe("4711");
  });

  test.each(["not json", "null", "[]", '"text"', "1", ""])(
    "where its payload is %j",
    async (payload) => {
      await expectInvalid(verify(await rawToken({ alg: "HS256" }, payload)));
    },
  );

  test("where another issuer or audience is asked for", async () => {
    const strict = { issuer: "https://issuer", audience: "audit" };
    await expectInvalid(verify(await tokenOf({ aud: "audit" }), strict), /iss/);
    await expectInvalid(
      verify(await tokenOf({ iss: "https://other", aud: "audit" }), strict),
      /iss/,
    );
    await expectInvalid(
      verify(await tokenOf({ iss: "https://issuer", aud: "other" }), strict),
      /aud/,
    );
    expect(
      (await verify(await tokenOf({ iss: "https://issuer", aud: ["x", "audit"] }), strict)).sub,
    ).toBe("alice");
  });

  test("and nothing of the token is told", async () => {
    const error = await refusal(
      verify(await tokenOf({ sub: "", tenant_id: "private", exp: "private" })),
    );
    expect(error.message).not.toContain("private");
  });
});

describe("bytes that are no UTF-8", () => {
  const payload = (claims: object) =>
    bytesOf(JSON.stringify({ ...goodClaims(), ...claims })).map((byte) =>
      byte === 0x23 ? 0xff : byte,
    );

  test("in a payload are refused, so that they never become another name", async () => {
    const token = await rawToken({ alg: "HS256" }, payload({ sub: "al#ice" }));
    await expectInvalid(verify(token), /^The token is not valid\.$/);
  });

  test("in the header of a request are refused", async () => {
    await expect(bearerOf("Bearer \u00FF\u00FE.x.y")).rejects.toMatchObject({
      code: "unauthenticated",
    });
  });
});

describe("the tenant", () => {
  test("is the configured one where the token names none, and only there", async () => {
    const house = { defaultTenant: "house" };
    expect((await verify(await tokenOf({ tenant_id: undefined }), house)).tenantId).toBe("house");
    expect((await verify(await tokenOf({}), house)).tenantId).toBe("acme");
    expect((await refusal(verify(await tokenOf({ tenant_id: undefined })))).code).toBe(
      "tenant_missing",
    );
  });
});

describe("the roles", () => {
  const rolesOf = async (claims: object, changes: Partial<TokenConfig> = {}) =>
    [...(await verify(await tokenOf({ role: undefined, ...claims }), changes)).roles].toSorted();

  test.each([
    [{ role: "writer" }, ["writer"]],
    [{ role: ["writer", "auditor"] }, ["auditor", "writer"]],
    [{ roles: "user" }, ["user"]],
    [{ roles: ["admin", "admin"] }, ["admin"]],
    [{ role: "writer", roles: ["auditor"] }, ["auditor", "writer"]],
    [{ role: "writer", roles: ["root", "Admin", "constructor"] }, ["writer"]],
    [{ roles: ["platform_admin"] }, ["platform_admin"]],
  ])("of %j are %j", async (claims, roles) => {
    expect(await rolesOf(claims)).toEqual(roles);
    expect(await rolesOf(claims, { defaultRoles: ["admin", "user"] })).toEqual(roles);
  });

  test("are the default ones where the token names none", async () => {
    expect(await rolesOf({}, { defaultRoles: ["writer", "auditor"] })).toEqual([
      "auditor",
      "writer",
    ]);
    expect((await refusal(rolesOf({}))).code).toBe("role_missing");
  });

  test.each([
    { role: "root" },
    { role: "" },
    { role: "ADMIN" },
    { role: "admin,writer" },
    { roles: ["root", "superuser"] },
    { role: "root", roles: [] },
  ])(
    "are never the default ones where the token names roles, even unknown ones: %j",
    async (claims) => {
      expect((await refusal(rolesOf(claims, { defaultRoles: ["writer", "auditor"] }))).code).toBe(
        "role_missing",
      );
    },
  );
});
