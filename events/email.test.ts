import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hashEmail, maskEmail } from "./email.ts";

describe("maskEmail", () => {
  test.each([
    ["nora@example.com", "n***@example.com"],
    ["n@example.com", "n***@example.com"],
    ["nora+audit@mail.example.com", "n***@mail.example.com"],
    ['"nora@home"@example.com', '"***@example.com'],
    ["😀nora@example.com", "😀***@example.com"],
    ["nora", "n***"],
    ["@example.com", "@***"],
    ["@", "@***"],
    ["", "***"],
  ])("makes of %j %j", (email, masked) => {
    expect(maskEmail(email)).toBe(masked);
  });

  test("shows of what stands before the domain no more than its first character", () => {
    const local = fc.string({ unit: "grapheme-ascii", minLength: 4 });
    fc.assert(
      fc.property(local, (name) => {
        expect(maskEmail(`${name}@example.com`)).toBe(`${name[0]}***@example.com`);
      }),
    );
  });
});

describe("hashEmail", () => {
  const secret = "a secret of at least 32 characters";

  test("is the same for every letter case, and for white space around", () => {
    const hash = hashEmail("nora@example.com", "acme", secret);
    expect(hashEmail(" Nora@EXAMPLE.com\n", "acme", secret)).toBe(hash);
  });

  test.each([
    ["nora@example.com", "acme", "mv7GPoZwe3qv5_r7ihZZEy8YjS9yLNtVg5j7lHYDrfs"],
    ["nora@exämple.com", "Größe 😀", "gR7x1wD2Z8Z3Bgw043crqIaBojLeQOMe0X2eBNfaEeo"],
  ])(
    "of %j in %j is the HMAC by a key that HKDF derives for the tenant",
    (email, tenant, expected) => {
      // By Python: HKDF-SHA-256 (no salt, info "email:" and the tenant, 32 bytes), then HMAC-SHA-256.
      expect(hashEmail(email, tenant, secret)).toBe(expected);
    },
  );

  test("differs by address, tenant and secret", () => {
    const hashes = [
      hashEmail("nora@example.com", "acme", secret),
      hashEmail("norb@example.com", "acme", secret),
      hashEmail("nora@example.com", "globex", secret),
      hashEmail("nora@example.com", "acme", `${secret}!`),
    ];
    expect(new Set(hashes).size).toBe(4);
  });

  test("takes an address as filters do: cleaned, and cut at 2,048 characters", () => {
    const long = `n\0\uD800${"x".repeat(5000)}@example.com`;
    const asFiltered = `n\uFFFD\uFFFD${"x".repeat(2045)}`;
    expect(hashEmail(long, "acme", secret)).toBe(hashEmail(asFiltered, "acme", secret));
  });

  test("stays right for more tenants than keys are kept for", () => {
    const first = hashEmail("nora@example.com", "tenant-0", secret);
    for (let n = 1; n <= 1001; n++) hashEmail("nora@example.com", `tenant-${n}`, secret);
    expect(hashEmail("nora@example.com", "tenant-0", secret)).toBe(first);
  });
});
