import {
  exportJWK,
  exportSPKI,
  generateKeyPair,
  SignJWT,
  type JWK,
  type JWTHeaderParameters,
} from "jose";
import { afterEach, beforeEach, describe, expect, inject, test, vi } from "vitest";
import type { TokenConfig } from "../../platform/config.ts";
import { ApiError } from "../../platform/errors.ts";
import { createLogger } from "../../platform/logger.ts";
import type { KeyHostAnswer } from "../../test/tools/key-host.ts";
import "../../test/provided.ts";
import { verifyToken } from "./verify-token.ts";

type Algorithm = "RS256" | "PS256" | "ES256" | "EdDSA";
const algorithms = ["RS256", "PS256", "ES256", "EdDSA"] as const;
const keyHost = inject("keyHostUrl");
const logger = createLogger("test", "WARNING");
const minute = 60_000;
const day = 24 * 60 * minute;

let lines: string[] = [];
beforeEach(() => {
  lines = [];
  vi.spyOn(console, "warn").mockImplementation((line) => void lines.push(String(line)));
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** Lets time pass for all that reads the clock. */
function later(ms: number): void {
  const now = Date.now() + ms;
  vi.spyOn(Date, "now").mockImplementation(() => now);
}

async function newKey(kid: string | undefined, alg: Algorithm = "ES256") {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  const jwk: JWK = { ...(await exportJWK(publicKey)), ...(kid === undefined ? {} : { kid }) };
  const sign = (claims: object = {}, header: Partial<JWTHeaderParameters> = {}) => {
    const now = Math.floor(Date.now() / 1000);
    const payload = { tenant_id: "acme", role: "admin", sub: "alice", exp: now + 3600, ...claims };
    return new SignJWT(payload)
      .setProtectedHeader({ alg, ...(kid === undefined ? {} : { kid }), ...header })
      .sign(privateKey);
  };
  return { jwk, publicKey, privateKey, sign };
}

/** An issuer with a key set of its own, that no test before has fetched. */
function newIssuer(algorithm: Algorithm = "ES256") {
  const url = `${keyHost}/${crypto.randomUUID()}`;
  const put = async (answer: KeyHostAnswer) =>
    void (await fetch(url, { method: "PUT", body: JSON.stringify(answer) }));
  const config: TokenConfig = {
    keys: { kind: "jwks", algorithm, url },
    issuer: undefined,
    audience: undefined,
    maxAgeSeconds: 86_400,
    defaultTenant: undefined,
    defaultRoles: [],
  };
  return {
    put,
    publish: (...keys: JWK[]) => put({ body: JSON.stringify({ keys }) }),
    /** How often the set was fetched since it was last put. */
    asked: async () => Number(await (await fetch(url, { method: "POST" })).text()),
    verify: (token: string) => verifyToken(`Bearer ${token}`, config, logger),
  };
}

const codeOf = (asked: Promise<unknown>) =>
  asked.then(
    () => "taken",
    (error: unknown) => (error instanceof ApiError ? error.code : String(error)),
  );

describe.each(algorithms)("a token signed by %s", (alg) => {
  test("is taken where its issuer publishes the key, and a changed one is not", async () => {
    const issuer = newIssuer(alg);
    const key = await newKey("k1", alg);
    await issuer.publish(key.jwk);
    const token = await key.sign();
    expect(await issuer.verify(token)).toMatchObject({ tenantId: "acme", sub: "alice" });
    const [header, , mac] = token.split(".");
    const [, forged] = (await key.sign({ tenant_id: "globex" })).split(".");
    expect(await codeOf(issuer.verify([header, forged, mac].join(".")))).toBe("unauthenticated");
  });

  test("is refused where another algorithm is configured, though the set has its key", async () => {
    const key = await newKey("k1", alg);
    for (const other of algorithms.filter((name) => name !== alg)) {
      const issuer = newIssuer(other);
      await issuer.publish(key.jwk);
      expect(await codeOf(issuer.verify(await key.sign()))).toBe("unauthenticated");
    }
  });

  test("is refused once it has expired, or is for later", async () => {
    const issuer = newIssuer(alg);
    const key = await newKey("k1", alg);
    await issuer.publish(key.jwk);
    const now = Math.floor(Date.now() / 1000);
    for (const claims of [{ exp: now - 6 }, { nbf: now + 30 }])
      expect(await codeOf(issuer.verify(await key.sign(claims)))).toBe("unauthenticated");
  });
});

describe("a forged token", () => {
  test("signed by HMAC with the public key is refused, in any form of that key", async () => {
    const issuer = newIssuer("RS256");
    const key = await newKey("k1", "RS256");
    await issuer.publish(key.jwk);
    await issuer.verify(await key.sign());
    const spki = await exportSPKI(key.publicKey);
    const forms = [spki, spki.trim(), JSON.stringify(key.jwk), key.jwk.n ?? ""];
    for (const alg of ["HS256", "HS384", "HS512"])
      for (const form of forms) {
        const token = await new SignJWT({ sub: "alice", role: "admin", tenant_id: "acme" })
          .setProtectedHeader({ alg, kid: "k1" })
          .setExpirationTime("1h")
          .sign(new TextEncoder().encode(form.padEnd(64)));
        expect(await codeOf(issuer.verify(token))).toBe("unauthenticated");
      }
    expect(await issuer.asked()).toBe(1);
  });

  test("that brings its own key, or an address of one, is refused", async () => {
    const issuer = newIssuer();
    const [key, attacker] = [await newKey("k1"), await newKey("k1")];
    await issuer.publish(key.jwk);
    const evil = newIssuer();
    await evil.publish(attacker.jwk);
    for (const header of [{ jwk: attacker.jwk }, { jku: keyHost }, { x5u: keyHost }])
      expect(await codeOf(issuer.verify(await attacker.sign({}, header)))).toBe("unauthenticated");
    expect(await evil.asked()).toBe(0);
  });

  test.each(["../../dev/null", "k1' or '1'='1", "__proto__", "constructor", "", "K1", "k1\0"])(
    "whose key id is %j is refused",
    async (kid) => {
      const issuer = newIssuer();
      const [key, attacker] = [await newKey("k1"), await newKey("k1")];
      await issuer.publish(key.jwk);
      expect(await codeOf(issuer.verify(await attacker.sign({}, { kid })))).toBe("unauthenticated");
      expect(await codeOf(issuer.verify(await key.sign({}, { kid })))).toBe("unauthenticated");
      expect(await codeOf(issuer.verify(await key.sign()))).toBe("taken");
    },
  );

  test("signed with a key that is published for something else is refused", async () => {
    const issuer = newIssuer();
    const key = await newKey("k1");
    for (const change of [{ use: "enc" }, { key_ops: ["encrypt"] }, { alg: "ES384" }]) {
      await issuer.publish({ ...key.jwk, ...change });
      expect(await codeOf(issuer.verify(await key.sign()))).toBe("unauthenticated");
      later(11 * minute);
    }
  });

  test("is not let in by a set that holds secrets", async () => {
    const issuer = newIssuer();
    const secret = "k".repeat(43);
    await issuer.publish({ kty: "oct", k: secret, kid: "k1" });
    const token = await new SignJWT({ sub: "alice" })
      .setProtectedHeader({ alg: "HS256", kid: "k1" })
      .setExpirationTime("1h")
      .sign(new TextEncoder().encode(secret));
    expect(await codeOf(issuer.verify(token))).toBe("unauthenticated");
  });
});

describe("the key set", () => {
  test("is fetched once for many tokens at once", async () => {
    const issuer = newIssuer();
    const key = await newKey("k1");
    await issuer.put({ body: JSON.stringify({ keys: [key.jwk] }), delayMs: 100 });
    const token = await key.sign();
    const codes = await Promise.all(Array.from({ length: 20 }, () => codeOf(issuer.verify(token))));
    expect(new Set(codes)).toEqual(new Set(["taken"]));
    expect(await issuer.asked()).toBe(1);
  });

  test("changes its key without one token being refused", async () => {
    const issuer = newIssuer();
    const [older, newer] = [await newKey("k1"), await newKey("k2")];
    await issuer.publish(older.jwk);
    await issuer.verify(await older.sign());
    await issuer.publish(older.jwk, newer.jwk);
    later(2 * minute);
    const tokens = [await newer.sign(), await older.sign(), await newer.sign()];
    const codes = await Promise.all(tokens.map((token) => codeOf(issuer.verify(token))));
    expect(codes).toEqual(["taken", "taken", "taken"]);
    await issuer.publish(newer.jwk);
    later(11 * minute);
    expect(await codeOf(issuer.verify(await newer.sign()))).toBe("taken");
    expect(await codeOf(issuer.verify(await older.sign()))).toBe("unauthenticated");
  });

  test("may change keys that have no id", async () => {
    const issuer = newIssuer();
    const [older, newer, third] = [
      await newKey(undefined),
      await newKey(undefined),
      await newKey(undefined),
    ];
    await issuer.publish(older.jwk, newer.jwk);
    expect(await codeOf(issuer.verify(await older.sign()))).toBe("taken");
    expect(await codeOf(issuer.verify(await newer.sign()))).toBe("taken");
    expect(await codeOf(issuer.verify(await third.sign()))).toBe("unauthenticated");
  });

  test("is fetched for unknown keys once a minute, however many come", async () => {
    const issuer = newIssuer();
    const [key, other] = [await newKey("k1"), await newKey("k2")];
    await issuer.publish(key.jwk);
    await issuer.verify(await key.sign());
    const flood = async () => {
      const tokens = Array.from({ length: 20 }, (_, n) => other.sign({}, { kid: `made-up-${n}` }));
      for (const token of await Promise.all(tokens))
        expect(await codeOf(issuer.verify(token))).toBe("unauthenticated");
    };
    await flood();
    expect(await issuer.asked()).toBe(1);
    later(minute);
    await flood();
    expect(await issuer.asked()).toBe(2);
  });

  test.each<[string, KeyHostAnswer]>([
    ["fails", { status: 503 }],
    ["sends another page", { body: "<html>" }],
    ["sends a set without keys", { body: '{"keys":[]}' }],
    ["sends a set that is none", { body: '{"keys":{"kty":"EC"}}' }],
    ["sends more than a set can be", { body: `{"keys":[{"kty":"${"x".repeat(70_000)}"}]}` }],
    ["sends one elsewhere", { status: 302, headers: { Location: `${keyHost}/elsewhere` } }],
  ])("of before is used while the host %s, for a day", async (_, failure) => {
    const issuer = newIssuer();
    const [key, other] = [await newKey("k1"), await newKey("k2")];
    await issuer.publish(key.jwk);
    await issuer.verify(await key.sign());
    const attacker = JSON.stringify({ keys: [other.jwk] });
    await fetch(`${keyHost}/elsewhere`, {
      method: "PUT",
      body: JSON.stringify({ body: attacker }),
    });
    await issuer.put(failure);
    later(11 * minute);
    const token = await key.sign();
    for (let n = 0; n < 5; n += 1) expect(await codeOf(issuer.verify(token))).toBe("taken");
    expect(await codeOf(issuer.verify(await other.sign()))).toBe("unauthenticated");
    expect(await issuer.asked()).toBe(1);
    expect(lines.join()).toContain("token_keys_not_fetched");
    later(day);
    const late = await key.sign();
    expect(await codeOf(issuer.verify(late))).toBe("token_keys_unavailable");
    await issuer.publish(key.jwk);
    later(2 * minute);
    expect(await codeOf(issuer.verify(late))).toBe("taken");
  });

  test("that could never be fetched is asked for again, a second later", async () => {
    const issuer = newIssuer();
    const key = await newKey("k1");
    await issuer.put({ status: 500 });
    const token = await key.sign();
    for (let n = 0; n < 5; n += 1)
      expect(await codeOf(issuer.verify(token))).toBe("token_keys_unavailable");
    expect(await issuer.asked()).toBe(1);
    await issuer.publish(key.jwk);
    later(1_100);
    expect(await codeOf(issuer.verify(token))).toBe("taken");
  });

  test("that does not come in 3 s is given up", async () => {
    const issuer = newIssuer();
    await issuer.put({ delayMs: 8_000 });
    const began = performance.now();
    expect(await codeOf(issuer.verify(await (await newKey("k1")).sign()))).toBe(
      "token_keys_unavailable",
    );
    expect(performance.now() - began).toBeLessThan(5_000);
  });
});
