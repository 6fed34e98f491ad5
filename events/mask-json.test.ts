import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectText, tokensOf } from "../test/workers/json-texts.ts";
import { cleanText } from "./clean-text.ts";
import { leaves } from "./json-text.ts";
import { maskJson } from "./mask-json.ts";
import { tenantMask } from "./tenant-mask.ts";

const secrets = { hashSecret: "0".repeat(32), extraKeys: [] };
const mask = (text: string) => maskJson(text, "/metadata", tenantMask(null, "acme", secrets));

describe("a text without secrets", () => {
  test.each([
    '{"b":1,"10":2,"a":3,"2":4}',
    '{"a":1,"a":2,"__proto__":{"x":3},"constructor":4,"":5}',
    '{"n":[9007199254740993,1e400,-0,1.10,1E+2,0.1e-7,123456789012345678901234567890]}',
    '{"a":{},"b":[],"c":[[{}]],"d":[null,true,false]}',
    String.raw`{"a":"\"\\\n\t\u0001","é":"😀"}`,
  ])("comes back as it was: %s", (text) => {
    expect(mask(text)).toEqual({ text, masked: [] });
  });

  test("comes back without white space and needless escapes", () => {
    const text = ` {\n "a" :\t[ 1 , 2 ] , "\\u0062":"\\u00e9\\/\\ud83d\\ude00" }\r\n`;
    expect(mask(text).text).toBe('{"a":[1,2],"b":"é/😀"}');
  });

  test("comes back with NUL and lone surrogates replaced, in keys too", () => {
    const text = String.raw`{"\u0000":"a\u0000\ud800b","\udc00x":["\ud800\u0061"]}`;
    expect(mask(text).text).toBe('{"\uFFFD":"a\uFFFD\uFFFDb","\uFFFDx":["\uFFFDa"]}');
  });

  test("keeps every key, every digit and their order, token by token", () => {
    const decoded = (token: string) =>
      token.startsWith('"') ? `"${cleanText(JSON.parse(token) as string)}` : token;
    fc.assert(
      fc.property(objectText, (text) => {
        const { text: out, masked } = mask(text);
        expect(tokensOf(out).map(decoded)).toEqual(tokensOf(text).map(decoded));
        expect(masked).toEqual([]);
      }),
    );
  });

  test("is always well-formed JSON that holds neither NUL nor a lone surrogate", () => {
    fc.assert(
      fc.property(objectText, (text) => {
        const { text: out } = mask(text);
        expect(() => void JSON.parse(out)).not.toThrow();
        expect(out.isWellFormed()).toBe(true);
        expect(out).not.toMatch(/\0|\\u0000|\\ud[89a-f]/i);
        for (const { path, value } of leaves(out)) {
          expect((path + value).isWellFormed() && !(path + value).includes("\0")).toBe(true);
        }
        expect(mask(out).text).toBe(out);
      }),
    );
  });
});

describe("a masked key", () => {
  test.each([
    '"x"',
    "1",
    "-1.5",
    "true",
    "false",
    '""',
    "[]",
    "{}",
    '["x",{"y":1}]',
    '{"hint":"x"}',
  ])("hides %s", (value) => {
    expect(mask(`{"a":{"password":${value}},"b":1}`)).toEqual({
      text: '{"a":{"password":"***"},"b":1}',
      masked: ["/metadata/a/password"],
    });
  });

  test("leaves null as it is: there is nothing to hide", () => {
    expect(mask('{"password":null}')).toEqual({ text: '{"password":null}', masked: [] });
  });

  test("in its plural leaves a number, which is a count, and hides all else", () => {
    expect(mask('{"max_tokens":100,"tokens":-1,"apiKeys":2.50}').masked).toEqual([]);
    expect(mask('{"tokens":"100","cookies":["x"],"passwords":{"a":1},"secrets":true}').text).toBe(
      '{"tokens":"***","cookies":"***","passwords":"***","secrets":"***"}',
    );
  });

  test("is known when it is written with escapes, and when it stands twice", () => {
    const text = String.raw`{"p\u0061ssword":"x","token":1,"token":"y"}`;
    expect(mask(text)).toEqual({
      text: '{"password":"***","token":"***","token":"***"}',
      masked: ["/metadata/password", "/metadata/token", "/metadata/token"],
    });
  });

  test("is listed as a JSON Pointer", () => {
    expect(mask('{"a/b~c":[{},{"":{"api-key":"x"}}]}').masked).toEqual([
      "/metadata/a~1b~0c/1//api-key",
    ]);
  });
});

describe("a secret by its form", () => {
  test("is masked in values, in keys and in arrays", () => {
    const card = "4111 1111 1111 1111";
    expect(mask(`{"note":"card ${card}","${card}":[["Bearer abcdefgh"]]}`)).toEqual({
      text: '{"note":"card ***","***":[["Bearer ***"]]}',
      masked: ["/metadata/note", "/metadata", "/metadata/***/0/0"],
    });
  });

  test.each(["4111111111111111", "4111111111111111.0", "4111111111111111.00"])(
    "is masked where it is the number %s",
    (number) => {
      expect(mask(`{"n":${number}}`)).toEqual({ text: '{"n":"***"}', masked: ["/metadata/n"] });
    },
  );

  test("is not seen in other numbers", () => {
    const text =
      '{"n":[9007199254740993,1706693400123456,0.4111111111111111,4111111111111111.5,-4111111111111111]}';
    expect(mask(text)).toEqual({ text, masked: [] });
  });
});

test("masking takes time that grows with the text only, to 10,000 keys and 20 levels", async () => {
  const wide = `{${Array.from({ length: 10_000 }, (_, n) => `"someKeyName${n}":"value ${n}"`).join(",")}}`;
  const deep = `${'{"a":['.repeat(9)}${wide}${"]}".repeat(9)}`;
  const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
  for (const text of [wide, deep]) {
    // The clock of a Worker stands still while it computes: it is read after a pause.
    await pause();
    const began = Date.now();
    expect([...leaves(mask(text).text)]).toHaveLength(10_000);
    await pause();
    expect(Date.now() - began).toBeLessThan(3000);
  }
});
