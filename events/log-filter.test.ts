import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isIpPattern } from "./log-filter.ts";

describe("isIpPattern", () => {
  test.each([
    "203.0.113.7",
    "0.0.0.0",
    "255.255.255.255",
    "203.0.113.0/24",
    "10.0.0.0/0",
    "10.1.2.3/32",
    "::",
    "::1",
    "2001:db8::1",
    "2001:DB8:0:0:0:0:0:1",
    "2001:db8::/32",
    "::/0",
    "::1/128",
    "::ffff:203.0.113.7",
    "::ffff:1:203:113/100",
  ])("takes %s", (text) => {
    expect(isIpPattern(text)).toBe(true);
  });

  test.each([
    "",
    "localhost",
    "example.com",
    "203.0.113",
    "203.0.113.256",
    "203.0.113.07",
    "203.0.113.7.1",
    "0x7f.0.0.1",
    "203.0.113.7/33",
    "203.0.113.7/",
    "203.0.113.7/-1",
    "203.0.113.7/24/24",
    "203.0.113.7:443",
    "203.0.113.7 ",
    "203.0.113.7\n",
    "1:2:3",
    ":::",
    "2001:db8::1::2",
    "2001:db8::g",
    "2001:db8::1/129",
    "::ffff:203.0.113.0/120",
    "0:0:0:0:0:FFFF:cb00:7100/120",
    "fe80::1%eth0",
    "[::1]",
    "/24",
    "::1]/x[",
    "*",
  ])("leaves %j to be compared as text", (text) => {
    expect(isIpPattern(text)).toBe(false);
  });

  test("takes every address, and every block of one", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.ipV6(), fc.integer({ min: 0, max: 32 }), (four, six, bits) => {
        for (const text of [
          four,
          six,
          `${four}/${bits}`,
          `2001:${four.split(".").join(":")}::/${bits * 4}`,
        ])
          expect(isIpPattern(text), text).toBe(true);
      }),
    );
  });

  test("never throws", () => {
    const piece = fc.constantFrom("1", "255", ".", ":", "::", "/", "f", "%", "[", "]", " ");
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(piece).map((all) => all.join("")),
        ),
        (text) => {
          expect(typeof isIpPattern(text)).toBe("boolean");
        },
      ),
    );
  });
});
