import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectText, tokensOf } from "../test/workers/json-texts.ts";
import { isMaskHash, maskHash } from "./mask-hash.ts";
import { maskJson } from "./mask-json.ts";
import { hows } from "./mask-rules.ts";
import { type Masking, masking } from "./masking.ts";
import { tenantMask } from "./tenant-mask.ts";

const secrets = { hashSecret: "a secret of at least 32 characters", extraKeys: ["shoe_size"] };
const maskOf = (rules: Masking, tenant = "acme") =>
  tenantMask(masking.parse(rules), tenant, secrets);
const hash = (text: string, tenant = "acme") => maskHash(text, tenant, secrets.hashSecret);
const masked = (rules: Masking, value: unknown) => {
  const { text, masked } = maskJson(JSON.stringify(value), "", maskOf(rules));
  return { value: JSON.parse(text) as unknown, masked };
};

describe("a hash", () => {
  test("is the same for equal values of a tenant, and for no others", () => {
    expect(hash("alice")).toBe(hash("alice"));
    const all = [
      hash("alice"),
      hash("alicf"),
      hash("alice", "globex"),
      maskHash("alice", "acme", "other"),
    ];
    expect(new Set(all)).toHaveLength(4);
    for (const one of all) expect(isMaskHash(one)).toBe(true);
  });

  test.each([
    ["alice", "acme", "hash:rCh-VajWSJStXFuzS-urOQ"],
    ["naïve\n", "Größe 😀", "hash:E6cHgwkhbpHZukj5_OLA5w"],
  ])(
    "of %j in %j is the HMAC by a key that HKDF derives for the tenant",
    (text, tenant, expected) => {
      // By Python: HKDF-SHA-256 (no salt, info "mask:" and the tenant, 32 bytes), then HMAC-SHA-256.
      expect(hash(text, tenant)).toBe(expected);
    },
  );

  test("does not depend on which tenants came before", () => {
    const first = hash("alice");
    for (let n = 0; n < 1_001; n++) hash("x", `tenant-${n}`);
    expect(hash("alice")).toBe(first);
  });
});

describe("what is masked in part", () => {
  const shown = (text: string) => maskOf({}).hide("partial", text);

  test.each([
    ["", "***"],
    ["1234567", "***"],
    ["12345678", "***78"],
    ["123456789012", "***012"],
    ["1234567890123456", "***3456"],
    ["x".repeat(2048), "***xxxx"],
    ["🔥🔥🔥🔥", "***🔥"],
    ["🔥".repeat(20), "***🔥🔥🔥🔥"],
    ["4111111111111111", "***"],
    ["Bearer abcdefghijkl", "***"],
  ])("of %j is %j", (text, expected) => {
    expect(shown(text)).toBe(expected);
  });

  test("is never more than a quarter of it, nor more than four characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const kept = shown(text).replace(/^\*\*\*/, "");
        expect([...kept].length).toBeLessThanOrEqual(Math.min(4, [...text].length / 4));
        expect(text.endsWith(kept)).toBe(true);
      }),
    );
  });
});

describe("a key of the tenant's", () => {
  const keys = [
    { key: "nickname", how: "full" },
    { key: "national_id", how: "hash" },
    { key: "account", how: "partial" },
  ] as const;

  test("is masked as it says, at any depth, in arrays, with numbers", () => {
    expect(
      masked(
        { keys: [...keys] },
        {
          nickname: "x",
          a: [{ nationalId: "123" }, { "NATIONAL-ID": 123 }, { national_id: [123, ["123"], null] }],
          account: ["1234567890123456", 1234567890123456, "short", null, { x: 1 }],
          userAccounts: ["1234567890"],
          accounts: 7,
          "user account": true,
        },
      ),
    ).toEqual({
      value: {
        nickname: "***",
        a: [
          { nationalId: hash("123") },
          { "NATIONAL-ID": hash("123") },
          { national_id: [hash("123"), [hash("123")], null] },
        ],
        account: ["***3456", "***3456", "***", null, "***"],
        userAccounts: ["***90"],
        accounts: 7,
        "user account": "***",
      },
      masked: [
        "/nickname",
        "/a/0/nationalId",
        "/a/1/NATIONAL-ID",
        "/a/2/national_id",
        "/account",
        "/userAccounts",
        "/user account",
      ],
    });
  });

  test("with an object is one hash of it, however it was spelled", () => {
    const mask = maskOf({ keys: [...keys] });
    const [one, other] = [
      String.raw`{"national_id": {"n": 1.0, "é": "a"}}`,
      String.raw`{"national_id":{"n":1.0,"\u00e9":"\u0061"}}`,
    ].map((text) => maskJson(text, "", mask).text);
    expect(one).toBe(other);
    expect(one).toBe(JSON.stringify({ national_id: hash('{"n":1.0,"é":"a"}') }));
  });

  test("says how one of the deployment's is masked, and unmasks none", () => {
    const rules: Masking = {
      keys: [
        { key: "Password", how: "hash" },
        { key: "shoeSize", how: "partial" },
        { key: "phone", how: "partial" },
        { key: "hint", how: "partial" },
      ],
    };
    expect(
      masked(rules, {
        password: "x",
        shoe_size: 4612345678,
        phone: "+49 30 901820",
        token: "1234567890",
        token_hint: "1234567890",
        passwords: ["x"],
        passwordHint: "1234567890",
      }).value,
    ).toEqual({
      password: hash("x"),
      shoe_size: "***78",
      phone: "***820",
      token: "***",
      token_hint: "***",
      passwords: [hash("x")],
      passwordHint: hash("1234567890"),
    });
  });

  test("given twice is masked by what keeps less of it", () => {
    const twice = [...hows, ...hows.toReversed()].map((how) => ({ key: "a_b", how }));
    expect(masked({ keys: twice }, { aB: "1234567890" }).value).toEqual({ aB: "***" });
  });
});

describe("a pattern of the tenant's", () => {
  test("is masked in texts, keys and numbers, wherever they stand", () => {
    const rules: Masking = {
      patterns: [
        { form: "EMP-####", how: "hash" },
        { form: "########", how: "partial" },
        { name: "email", how: "full" },
      ],
    };
    expect(
      masked(rules, {
        note: "by EMP-1234 and nora@example.com, EMP-12345",
        "emp-1234": [12345678, "12345678", 123456789, -12345678, true],
        whole: "EMP-1234",
      }),
    ).toEqual({
      value: {
        note: `by ${hash("EMP-1234")} and ***, EMP-12345`,
        [hash("emp-1234")]: ["***78", "***78", 123456789, "-***78", true],
        whole: hash("EMP-1234"),
      },
      masked: expect.arrayContaining(["/note", `/${hash("emp-1234")}/0`, "/whole"]) as unknown,
    });
  });

  test("leaves what is always masked as it is", () => {
    const rules: Masking = { patterns: [{ form: "#### #### #### ####", how: "partial" }] };
    expect(masked(rules, { card: "4111 1111 1111 1111", no: "1234 1234 1234 1234" }).value).toEqual(
      {
        card: "***",
        no: "***1234",
      },
    );
  });

  test("that overlaps another one is masked with it, by what keeps less", () => {
    const rules: Masking = {
      patterns: [
        { form: "a-b-c", how: "partial" },
        { form: "c-d-e", how: "full" },
        { form: "b-c-*", how: "hash" },
      ],
    };
    expect(masked(rules, ["x a-b-c-d-e y", "b-c-dd", "ab-c-d"]).value).toEqual([
      "x *** y",
      hash("b-c-dd"),
      "ab-c-d",
    ]);
  });
});

test("rules that match nothing change nothing", () => {
  const rules: Masking = {
    keys: [{ key: "no_such_key_at_all", how: "full" }],
    patterns: [{ form: "~~~~~~~~#", how: "hash" }],
  };
  fc.assert(
    fc.property(objectText, (text) => {
      const own = maskJson(text, "", maskOf(rules));
      expect(tokensOf(own.text)).toEqual(tokensOf(maskJson(text, "", maskOf({})).text));
    }),
  );
});

describe("rules", () => {
  test.each<[unknown, string]>([
    [{ keys: [{ key: "__", how: "full" }] }, "keys.0.key"],
    [{ keys: [{ key: "", how: "full" }] }, "keys.0.key"],
    [{ keys: [{ key: "a".repeat(101), how: "full" }] }, "keys.0.key"],
    [{ keys: [{ key: "a", how: "none" }] }, "keys.0.how"],
    [{ keys: [{ key: "a" }] }, "keys.0.how"],
    [{ keys: Array.from({ length: 101 }, () => ({ key: "a", how: "full" })) }, "keys"],
    [{ patterns: [{ how: "full" }] }, "patterns.0"],
    [{ patterns: [{ name: "email", form: "abc", how: "full" }] }, "patterns.0"],
    [{ patterns: [{ name: "card", how: "full" }] }, "patterns.0.name"],
    [{ patterns: [{ form: "a", how: "full" }] }, "patterns.0.form"],
    [{ patterns: [{ form: "x".repeat(101), how: "full" }] }, "patterns.0.form"],
    [{ patterns: Array.from({ length: 21 }, () => ({ form: "abc", how: "full" })) }, "patterns"],
    [
      { patterns: Array.from({ length: 6 }, () => ({ form: "x".repeat(90), how: "full" })) },
      "patterns",
    ],
    [{ fields: { user_id: "full" } }, "fields.user_id"],
    [{ fields: { user_id: "partial" } }, "fields.user_id"],
    [{ fields: { action: "hash" } }, "fields"],
    [{ email: "hash" }, "email"],
    [{ unknown: 1 }, ""],
  ])("such as %j are refused, and it is said where", (rules, path) => {
    const { error } = masking.safeParse(rules);
    expect(error?.issues.map((issue) => issue.path.join("."))).toEqual([path]);
  });
});
