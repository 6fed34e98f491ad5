import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findPersonal, type PersonalName, personalNames } from "./personal-values.ts";

const foundIn = (name: PersonalName, text: string) =>
  findPersonal(name, text).map(({ start, end }) => text.slice(start, end));

describe("personal values", () => {
  test.each<[PersonalName, string, string[]]>([
    [
      "email",
      "to nora@example.com, <N.Q+x@mail.example.co.uk>.",
      ["nora@example.com", "N.Q+x@mail.example.co.uk"],
    ],
    ["email", "jörg@bücher.example mailto:a@b.de?x", ["jörg@bücher.example", "a@b.de"]],
    ["email", "a@b @example.com nora@ nora@localhost a@-b.com a@b..com", []],
    ["ip", "from 203.0.113.7:443, 10.0.0.1.", ["203.0.113.7", "10.0.0.1"]],
    [
      "ip",
      "[2001:db8::1]:80 ::1 fe80::1%eth0 ::ffff:10.0.0.1",
      ["2001:db8::1", "::1", "fe80::1", "::ffff:10.0.0.1"],
    ],
    ["ip", "256.1.1.1 1.2.3 1.2.3.4.5 at 12:30:45 a::b::c face:b00c std::map", []],
    [
      "phone",
      "call +49 30 901820, +1 (555) 010-9999 or +441632960961.",
      ["+49 30 901820", "+1 (555) 010-9999", "+441632960961"],
    ],
    ["phone", "1+4930901820 +0123456789 +12345 +4930901820x 030 901820", []],
    [
      "iban",
      "DE89370400440532013000, GB29 NWBK 6016 1331 9268 19 IS MINE",
      ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19"],
    ],
    ["iban", "DE88370400440532013000 de89370400440532013000 XDE89370400440532013000", []],
  ])("%s are found in %j", (name, text, expected) => {
    expect(foundIn(name, text)).toEqual(expected);
  });

  test.each(
    personalNames.flatMap((name) =>
      [
        "a",
        "a.",
        "a@",
        "a@a.",
        "1.",
        "1",
        ":",
        "a:",
        "::1 ",
        "+1",
        "+1 ",
        "AB12",
        "AB12 ",
        "A1 ",
        "@",
        "1.1.1.1",
        "1:",
      ].map((part) => [name, part] as const),
    ),
  )(
    "%s are looked for in 256 KiB of %j in time that grows with their length only",
    async (name, part) => {
      const text = part.repeat((256 * 1024) / part.length);
      const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
      // The clock of a Worker stands still while it computes: it is read after a pause.
      await pause();
      const began = Date.now();
      findPersonal(name, text);
      await pause();
      expect(Date.now() - began).toBeLessThan(5_000);
    },
  );

  test("stand one behind the other, inside the text", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...personalNames),
        fc.string({ unit: fc.constantFrom(..."aA1.:@+- DE89é") }),
        (name, text) => {
          let last = 0;
          for (const { start, end } of findPersonal(name, text)) {
            expect(start).toBeGreaterThanOrEqual(last);
            expect(end).toBeGreaterThan(start);
            last = end;
          }
          expect(last).toBeLessThanOrEqual(text.length);
        },
      ),
    );
  });
});
