import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { TokenConfig } from "../../platform/config.ts";
import type { Bearer } from "./caller.ts";
import { keepBearer, knownBearer } from "./known-tokens.ts";

const newConfig = (): TokenConfig => ({
  keys: { kind: "secrets", algorithm: "HS256", secrets: ["one"] },
  issuer: undefined,
  audience: undefined,
  maxAgeSeconds: 86_400,
  defaultTenant: undefined,
  defaultRoles: [],
});
const alice: Bearer = {
  tenantId: "acme",
  sub: "alice",
  roles: new Set(["admin"]),
  issuedAt: 0,
  isKey: false,
};
const inSeconds = (seconds: number) => Date.now() / 1_000 + seconds;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

test("a token is known by every byte of it, to the configuration that it was verified by", () => {
  const config = newConfig();
  keepBearer("a.b.c", config, alice, inSeconds(3_600));
  expect(knownBearer("a.b.c", config)).toEqual(alice);
  expect(knownBearer("a.b.d", config)).toBeUndefined();
  expect(knownBearer("a.b.c", newConfig())).toBeUndefined();
});

test("a token is known for 30 seconds, and then to be verified anew", () => {
  const config = newConfig();
  keepBearer("a.b.c", config, alice, inSeconds(3_600));
  vi.advanceTimersByTime(29_900);
  expect(knownBearer("a.b.c", config)).toEqual(alice);
  vi.advanceTimersByTime(100);
  expect(knownBearer("a.b.c", config)).toBeUndefined();
});

test("a token is not known from the moment that it expires", () => {
  const config = newConfig();
  keepBearer("a.b.c", config, alice, inSeconds(10));
  vi.advanceTimersByTime(9_900);
  expect(knownBearer("a.b.c", config)).toEqual(alice);
  vi.advanceTimersByTime(100);
  expect(knownBearer("a.b.c", config)).toBeUndefined();
});

test("of more tokens than are kept, the first are forgotten", () => {
  const config = newConfig();
  for (let n = 0; n <= 1_000; n += 1) keepBearer(`token ${n}`, config, alice, inSeconds(3_600));
  expect(knownBearer("token 0", config)).toBeUndefined();
  expect(knownBearer("token 1", config)).toEqual(alice);
});
