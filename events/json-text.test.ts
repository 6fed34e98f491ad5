import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectText } from "../test/workers/json-texts.ts";
import {
  compactJson,
  elements,
  isDeeperThan,
  isTextDeeperThan,
  leaves,
  memberText,
  members,
  type Leaf,
} from "./json-text.ts";

const keysOf = (text: string) => Array.from(members(text), (member) => member.key);
const valuesOf = (text: string) =>
  Array.from(members(text), ({ value }) => text.slice(value.start, value.end));
const elementsOf = (text: string) =>
  Array.from(elements(text), ({ start, end }) => text.slice(start, end));

/** What leaves() says, by another way: over the parsed value. */
function leavesOf(value: unknown, path: string): Leaf[] {
  if (Array.isArray(value)) return value.flatMap((element) => leavesOf(element, path));
  if (typeof value !== "object" || value === null) return [{ path, value: String(value) }];
  return Object.entries(value).flatMap(([key, inner]) =>
    leavesOf(inner, path === "" ? key : `${path}.${key}`),
  );
}

describe("members", () => {
  test("come in their order, with keys that look like numbers where they stand", () => {
    expect(keysOf('{"b":1,"10":2,"a":3,"2":4}')).toEqual(["b", "10", "a", "2"]);
  });

  test("come each time that a key stands there, whatever its name", () => {
    expect(keysOf('{"a":1,"a":2,"__proto__":3,"":4}')).toEqual(["a", "a", "__proto__", ""]);
  });

  test("have their keys without escapes, and their values as they are written", () => {
    const text = String.raw`{ "\u0061\"b" : "x\"}" , "c":[ 1, {"d":"]"} ] ,"e":1.10 }`;
    expect(keysOf(text)).toEqual(['a"b', "c", "e"]);
    expect(valuesOf(text)).toEqual([String.raw`"x\"}"`, '[ 1, {"d":"]"} ]', "1.10"]);
  });

  test("are none in an empty object", () => {
    expect(keysOf(" { \n} ")).toEqual([]);
  });

  test("are, joined again, the same value", () => {
    fc.assert(
      fc.property(objectText, (text) => {
        const again = Array.from(
          members(text),
          ({ keySpan, value }) =>
            `${text.slice(keySpan.start, keySpan.end)}:${text.slice(value.start, value.end)}`,
        );
        expect(JSON.parse(`{${again.join(",")}}`)).toEqual(JSON.parse(text));
      }),
    );
  });
});

describe("elements", () => {
  test("come as they are written", () => {
    expect(elementsOf('[ 1e400 ,"a,]" , [2,3],{"x":[]},null ]')).toEqual([
      "1e400",
      '"a,]"',
      "[2,3]",
      '{"x":[]}',
      "null",
    ]);
  });

  test("are none in an empty array", () => {
    expect(elementsOf(" [ \n] ")).toEqual([]);
  });
});

describe("memberText", () => {
  test("is the last value where a key stands twice, as JSON.parse has it", () => {
    expect(memberText('{"a":1,"b":2,"a":{"c":3.0}}', "a")).toBe('{"c":3.0}');
  });

  test("finds a key that is written with escapes", () => {
    expect(memberText(String.raw`{"m\u0065tadata":{}}`, "metadata")).toBe("{}");
  });

  test("is undefined where there is no such key at the top", () => {
    expect(memberText('{"a":{"b":1},"toString":2}', "b")).toBeUndefined();
    expect(memberText("{}", "toString")).toBeUndefined();
  });
});

describe("leaves", () => {
  test("have keys joined by dots, and one path for all elements of an array", () => {
    expect([...leaves('{"a":{"b":[1,[2,{"c":"x"}]],"d":null},"e":true}')]).toEqual([
      { path: "a.b", value: "1" },
      { path: "a.b", value: "2" },
      { path: "a.b.c", value: "x" },
      { path: "a.d", value: "null" },
      { path: "e", value: "true" },
    ]);
  });

  test("keep every digit of a number", () => {
    const numbers = ["9007199254740993", "1e400", "-0", "1.10"];
    expect(Array.from(leaves(`{"a":[${numbers.join(" , ")}]}`), (leaf) => leaf.value)).toEqual(
      numbers,
    );
  });

  test("agree with a walk over the parsed value", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 }), (value) => {
        const text = JSON.stringify(value, null, 1);
        expect([...leaves(text)]).toEqual(leavesOf(JSON.parse(text), ""));
      }),
      { numRuns: 50 },
    );
  });
});

describe("depth", () => {
  const nested = (depth: number) => `${'{"a":['.repeat(depth / 2)}${"]}".repeat(depth / 2)}`;

  test("is counted in objects and arrays", () => {
    for (const isDeeper of [
      isTextDeeperThan,
      (text: string, limit: number) => isDeeperThan(JSON.parse(text), limit),
    ]) {
      expect(isDeeper(nested(20), 20)).toBe(false);
      expect(isDeeper(nested(20), 19)).toBe(true);
      expect(isDeeper('{"a":[[1],[2],{"b":{}}],"c":[]}', 4)).toBe(false);
      expect(isDeeper('"a"', 0)).toBe(false);
    }
  });

  test("of a text does not count what stands in strings", () => {
    expect(isTextDeeperThan(String.raw`{"a":"[[[\"{{{","b[[[":[]}`, 2)).toBe(false);
  });

  test("of a text counts what the parsed value has lost", () => {
    expect(isTextDeeperThan('{"a":[[[]]],"a":1}', 3)).toBe(true);
    expect(isDeeperThan(JSON.parse('{"a":[[[]]],"a":1}'), 3)).toBe(false);
  });

  test("of a value that is very deep is answered without going there", () => {
    const text = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    expect(isDeeperThan(JSON.parse(text), 20)).toBe(true);
    expect(isTextDeeperThan(text, 20)).toBe(true);
  });
});

test.each([
  ['{ "a" : [ 1.10 , "x y\\" z" ] ,\r\n\t"b": { } }', '{"a":[1.10,"x y\\" z"],"b":{}}'],
  ['{"a":1}', '{"a":1}'],
  [' "  " ', '"  "'],
  ["9007199254740993 ", "9007199254740993"],
])("a text without the spaces between its tokens: %s", (text, compact) => {
  expect(compactJson(text)).toBe(compact);
  expect(JSON.parse(compactJson(text))).toEqual(JSON.parse(text));
});
