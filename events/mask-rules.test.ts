import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isCardNumber, type KeyRule, keyRule, keyWords, maskPatterns } from "./mask-rules.ts";

/** What a rule says of a key, in a word. */
const said = (rule: KeyRule) => (key: string) => {
  const verdict = rule(key);
  if (verdict === null) return "kept";
  return verdict.isPlural ? "plural" : "masked";
};
const rule = said(keyRule([]));

describe("the words of a key", () => {
  test.each([
    ["APIKey", ["api", "key"]],
    ["api_key", ["api", "key"]],
    ["x-api-key", ["x", "api", "key"]],
    ["Api Key", ["api", "key"]],
    ["user.password", ["user", "password"]],
    ["userPassword2", ["user", "password"]],
    ["password_2", ["password"]],
    ["HTTPSToken", ["https", "token"]],
    ["oauth2Token", ["oauth", "token"]],
    ["2fa", ["2fa"]],
    ["größeInÖl", ["größe", "in", "öl"]],
    ["电话", ["电话"]],
    ["", []],
    ["_-.1", []],
  ])("of %j are %j", (key, words) => {
    expect(keyWords(key)).toEqual(words);
  });
});

describe("the rule for keys", () => {
  test.each(
    (
      "api_key apiKey APIKey apikey APIKEY Api-Key x-api-key api.key aPI_kEY X-Auth-Token set-cookie Cookie user.password password1 " +
      "password_2 newPassword PassWord passWord PASSWORD cardNumber card_number cardNumber1 phoneNumber phone mobile_phone IBAN " +
      "ibanCode cvv CVV2 ssn userSSN Authorization proxy-authorization client_secret secretAccessKey accessToken id_token token " +
      "refreshToken2 password_hash token_value authorization_code İBAN pass\0word api\u200Bkey"
    ).split(" "),
  )("masks %j", (key) => {
    expect(rule(key)).toBe("masked");
  });

  test.each(
    (
      "token_count tokenCount token_count_2 password_changed_at passwordStrength secret_name cookie_policy phone_verified token_type token_status " +
      "api_key_id tokenExpiresAt secretary tokenizer keyboard phonetic passwordless author discard_numbers monkey key card " +
      "number api cell_id session toString __proto__ constructor"
    ).split(" "),
  )("keeps %j", (key) => {
    expect(rule(key)).toBe("kept");
  });

  test.each(
    "tokens max_tokens totalTokens passwords api_keys apiKeys phones secrets cookies".split(" "),
  )("takes %j for a count where it is a number", (key) => {
    expect(rule(key)).toBe("plural");
  });

  test("masks a key that is described by words of which one is no descriptor", () => {
    expect(rule("token_count_backup")).toBe("masked");
  });

  test("takes more keys, in any spelling", () => {
    const more = said(keyRule(["national_id", "shoeSize", " ", "2fa", "паспорт"]));
    for (const key of [
      "nationalId",
      "NATIONAL-ID",
      "nationalid",
      "shoe_size",
      "2fa",
      "ПАСПОРТ",
      "api_key",
    ]) {
      expect(more(key), key).toBe("masked");
    }
    for (const key of ["national", "id", "shoe", "", " ", "3fa"])
      expect(more(key), key).toBe("kept");
  });

  test("says the same every time", () => {
    fc.assert(
      fc.property(fc.string(), (key) => {
        expect(rule(key)).toBe(rule(key));
        expect(rule(`${key}_password`)).toBe("masked");
      }),
    );
  });

  test("answers for keys of 256 KiB in time that grows with their length only", async () => {
    for (const part of ["a_", "c_", "card_", "token_at_", "tokens_", "A", "a1", "1", "_"]) {
      const key = `${part.repeat((256 * 1024) / part.length)}_token_count`;
      expect(await millisecondsOf(() => rule(key)), part).toBeLessThan(5000);
    }
  });
});

describe("card numbers", () => {
  const schemes = [
    "4222222222222",
    "4111111111111111",
    "4111111111111111110",
    "5555555555554444",
    "2223003122003222",
  ].concat([
    "378282246310005",
    "30569309025904",
    "36227206271667",
    "3530111333300000",
    "6011111111111117",
    "6200000000000005",
    "5019717010103742",
  ]);

  test.each(schemes)("%s is masked, alone and in a text", (card) => {
    expect(isCardNumber(card)).toBe(true);
    expect(maskPatterns(card)).toBe("***");
    expect(maskPatterns(`Paid with ${card}.`)).toBe("Paid with ***.");
  });

  test.each([
    ["4111 1111 1111 1111", "***"],
    ["4111-1111-1111-1111", "***"],
    ["4111\u00A01111\u00A01111\u00A01111", "***"],
    ["4111.1111.1111.1111", "***"],
    ["3782 822463 10005", "***"],
    ["4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "***"],
    ["Card No.4111 1111 1111 1111 12/29", "Card No.*** 12/29"],
    ["CARD4111111111111111EXP", "CARD***EXP"],
    ["card=4111111111111111&cvc=1", "card=***&cvc=1"],
    ["(4111111111111111.50 EUR)", "(***.50 EUR)"],
    ["4111 1111 1111 1111 5555-5555-5555-4444", "*** ***"],
    ["12 4111111111111111 34", "12 *** 34"],
    ["😀4111111111111111😀", "😀***😀"],
  ])("%j becomes %j", (text, masked) => {
    expect(maskPatterns(text)).toBe(masked);
  });

  const digitsOf = (length: number) =>
    fc
      .array(fc.integer({ min: 0, max: 9 }), { minLength: length, maxLength: length })
      .map((digits) => digits.join(""));
  const card = fc
    .constantFrom<[string, number][]>(
      ["4", 15],
      ["51", 15],
      ["2221", 15],
      ["34", 14],
      ["37", 14],
      ["305", 13],
      ["6011", 15],
      ["35", 15],
      ["62", 18],
    )
    .chain(([prefix, length]) =>
      digitsOf(length - prefix.length).map((rest) => withCheckDigit(prefix + rest)),
    );

  test("are masked in every grouping, and what stands around them is kept", () => {
    const separator = fc.constantFrom("", " ", "-");
    const around = fc.constantFrom("", "x ", "no:", "\n", "É", ": ");
    fc.assert(
      fc.property(
        card,
        separator,
        fc.integer({ min: 1, max: 6 }),
        around,
        around,
        (number, by, size, before, after) => {
          const groups = number.match(new RegExp(`.{1,${size}}`, "g")) ?? [];
          expect(maskPatterns(before + groups.join(by) + after)).toBe(`${before}***${after}`);
        },
      ),
    );
  });

  test("are no longer cards with a digit changed", () => {
    fc.assert(
      fc.property(card, fc.integer({ min: 1, max: 9 }), (number, more) => {
        const changed = number.slice(0, -1) + String((Number(number.at(-1)) + more) % 10);
        expect(isCardNumber(changed)).toBe(false);
      }),
    );
  });

  test.each([
    "9007199254740993",
    "4111111111111112",
    "1111111111111111",
    "0000000000000000",
    "0.4111111111111111",
    "41111111111111111111",
    "2026-01-31 09:30:00.123456 2026-01-31T09:30:00.123Z",
    "20260131093000123",
    "80351110224678912 456226577798135808",
    "c4ca4238a0b923820dcc509a6f75849b",
    "9b74c9897bac770ffc029102a200c5de4111111111111111ab8d71e0f3a1",
    "4111-1111 and 1111-1111",
    "411111111111",
    "",
  ])("%j holds none", (text) => {
    expect(maskPatterns(text)).toBe(text);
  });

  const expectKept = (values: fc.Arbitrary<string>) => {
    fc.assert(
      fc.property(values, (text) => {
        expect(maskPatterns(`at ${text} it was`)).toBe(`at ${text} it was`);
        expect(isCardNumber(text)).toBe(false);
      }),
      { numRuns: 500 },
    );
  };
  const time = fc.integer({ min: Date.UTC(2016, 0), max: Date.UTC(2030, 0) });

  test("are not seen in times in milliseconds, microseconds and nanoseconds", () => {
    expectKept(
      fc
        .tuple(time, digitsOf(6), fc.constantFrom(0, 3, 6))
        .map(([ms, rest, more]) => ms + rest.slice(0, more)),
    );
    expectKept(time.map((ms) => new Date(ms).toISOString()));
    expectKept(time.map((ms) => new Date(ms).toISOString().replaceAll(/\D/g, "")));
  });

  test("are not seen in snowflake ids", () => {
    const since = fc.constantFrom(Date.UTC(2010, 10, 4, 1, 42, 54, 657), Date.UTC(2015, 0, 1));
    const low = fc.integer({ min: 0, max: 2 ** 22 - 1 });
    expectKept(
      fc
        .tuple(time, since, low)
        .map(([ms, start, rest]) => String((BigInt(ms - start) << 22n) + BigInt(rest))),
    );
  });

  test("are not seen in UUIDs and in digests", () => {
    expectKept(fc.uuid());
    expectKept(fc.uuid().map((id) => id.toUpperCase()));
    const hex = (length: number) =>
      fc.array(fc.constantFrom(..."0123456789".repeat(3), ..."abcdef"), {
        minLength: length,
        maxLength: length,
      });
    for (const length of [24, 32, 40, 64])
      expectKept(hex(length).map((characters) => `${characters.slice(1).join("")}f`));
  });
});

describe("bearer tokens", () => {
  test.each([
    ["Bearer eyJhbGciOi.eyJzdWIi.c2ln", "Bearer ***"],
    ["Authorization: bearer abc-DEF_123~+/=, next", "Authorization: bearer ***, next"],
    ["pay4711Bearer abcdef", "pay4711Bearer ***"],
    ["Bearer Bearer eyJhbGciOi.abc", "Bearer ***"],
    ["Bearer\n  17|laravelSanctumToken", "Bearer ***"],
    ['{"Authorization":"Bearer abcdef","a":1}', '{"Authorization":"Bearer ***","a":1}'],
    ["curl -H 'Authorization: Bearer abc%2Fdef' x", "curl -H 'Authorization: Bearer ***' x"],
  ])("%j becomes %j", (text, masked) => {
    expect(maskPatterns(text)).toBe(masked);
  });

  test.each(["the bearer of news", "Bearer ", "forbearer abcdefgh", "a ring-bearer, abcdefgh"])(
    "%j holds none",
    (text) => {
      expect(maskPatterns(text)).toBe(text);
    },
  );
});

describe("private keys", () => {
  const block = (kind: string) => `-----BEGIN ${kind}-----\nMIIEsecret+/=\n-----END ${kind}-----`;

  test.each([
    "PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
    "OPENSSH PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "PGP PRIVATE KEY BLOCK",
  ])("of the kind %s are masked, each alone", (kind) => {
    expect(maskPatterns(`a ${block(kind)} b ${block(kind)} c`)).toBe("a *** b *** c");
  });

  test("that have no end are masked to the end of the text", () => {
    expect(maskPatterns("key: -----BEGIN RSA PRIVATE KEY-----\nMIIE\nsecret")).toBe("key: ***");
  });

  test("are not seen in certificates and public keys", () => {
    const text = `${block("CERTIFICATE")}\n${block("PUBLIC KEY")}`;
    expect(maskPatterns(text)).toBe(text);
  });
});

test.each([
  "1",
  "1 ",
  "4-",
  "6 ",
  "4111.",
  "4111 1111 1111 1111 ",
  "4111111111111111-",
  "a-",
  "ab12",
  "12345678-1234-1234-1234-12345678901 ",
  "Bearer ",
  "Bearer a ",
  "Bearer        ",
  "-----BEGIN PRIVATE KEY-----",
  "-----BEGIN ",
  "PRIVATE KEY ",
  "-----BEGIN PRIVATE KEY----------END A",
  '"',
  "\\",
  " ",
])("256 KiB of %j are read in time that grows with their length only", async (part) => {
  const text = part.repeat((256 * 1024) / part.length);
  expect(await millisecondsOf(() => maskPatterns(text))).toBeLessThan(5000);
});

// A writer's key would hold up every tenant's isolate, where one of them masks what is a descriptor.
test("a key of 256 KiB is parted in time that grows with its length only", async () => {
  const ofName = keyRule([], [{ key: "name", how: "full" }]);
  const key = `${"name_".repeat(50_000)}at`;
  expect(await millisecondsOf(() => ofName(key))).toBeLessThan(5000);
  expect(ofName("name_at_name")).toEqual({ how: "full", isPlural: false });
  expect(ofName("name_at")).toBeNull();
});

/** The clock of a Worker stands still while it computes: it is read after a pause. */
async function millisecondsOf(work: () => unknown): Promise<number> {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
  await pause();
  const began = Date.now();
  work();
  await pause();
  return Date.now() - began;
}

function withCheckDigit(digits: string): string {
  const sum = [...digits].toReversed().reduce((total, digit, at) => {
    const value = Number(digit) * (at % 2 === 0 ? 2 : 1);
    return total + Math.floor(value / 10) + (value % 10);
  }, 0);
  return digits + String((10 - (sum % 10)) % 10);
}
