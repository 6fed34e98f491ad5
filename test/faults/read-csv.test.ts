import { expect, test } from "vitest";
import { readCsv } from "./read-csv.ts";

test("values come back as they were, quoted or not", () => {
  expect(readCsv('id,"text"\r\n1,"a ""b"", c\r\nd"\r\n2,plain\r\n')).toEqual([
    ["id", "text"],
    ["1", 'a "b", c\r\nd'],
    ["2", "plain"],
  ]);
});

test("null and the empty text are told apart, and one apostrophe is taken away", () => {
  expect(readCsv('"",,\'=1,"\'\'x"\r\n')).toEqual([["", null, "=1", "'x"]]);
});

test.each(['a,"b', 'a"b,c\r\n', "a,b", 'a,"b"c\r\n', "a\nb\r\n"])("%j is refused", (text) => {
  expect(() => readCsv(text)).toThrow("There is no field");
});
