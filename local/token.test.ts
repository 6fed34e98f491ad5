import { jwtVerify } from "jose";
import { afterEach, expect, test, vi } from "vitest";
import { LOCAL_JWT_SECRET } from "./stack-settings.ts";
import { localToken, tokenCommand } from "./token.ts";

vi.mock("./dev-state.ts", () => ({ readStack: () => undefined }));

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

const key = (secret: string): Uint8Array => new TextEncoder().encode(secret);

test("a token has the tenant, the roles, the subject and its time", async () => {
  const token = await localToken({
    tenant: "acme",
    roles: ["admin", "writer"],
    sub: "alice",
    hours: 0.5,
  });
  const { payload, protectedHeader } = await jwtVerify(token, key(LOCAL_JWT_SECRET));
  expect(protectedHeader).toEqual({ alg: "HS256", typ: "JWT" });
  expect(payload).toMatchObject({ tenant_id: "acme", roles: ["admin", "writer"], sub: "alice" });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(1800);
});

test("settings of the environment are followed", async () => {
  const secret = "a secret of one's own, long enough for HS512 as well";
  vi.stubEnv("JWT_SECRET", secret);
  vi.stubEnv("JWT_ALGORITHM", "HS512");
  vi.stubEnv("JWT_ISSUER", "https://issuer.example");
  vi.stubEnv("JWT_AUDIENCE", "audit");
  const token = await localToken({ tenant: "t", roles: ["user"], sub: "s", hours: 1 });
  const { payload } = await jwtVerify(token, key(secret), {
    algorithms: ["HS512"],
    issuer: "https://issuer.example",
    audience: "audit",
  });
  expect(payload["tenant_id"]).toBe("t");
});

test("the command prints one line, a token", async () => {
  const printed = vi.spyOn(console, "log").mockImplementation(() => {});
  expect(await tokenCommand(["--tenant", "umbrella", "--role", "writer, auditor"])).toBe(0);
  const token = String(printed.mock.calls[0]?.[0]);
  const { payload } = await jwtVerify(token, key(LOCAL_JWT_SECRET));
  expect(payload).toMatchObject({
    tenant_id: "umbrella",
    roles: ["writer", "auditor"],
    sub: "alice",
  });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(12 * 3600);
});

test.each([[["--tennant", "x"]], [["--hours", "soon"]], [["--role", ","]], [["--tenant", ""]]])(
  "%j is a usage error",
  async (args) => {
    const complained = vi.spyOn(console, "error").mockImplementation(() => {});
    expect(await tokenCommand(args)).toBe(2);
    expect(complained.mock.calls[0]?.[0]).toContain("npm run --silent token --");
  },
);

test("where the stack takes tokens of a public key, it says where to get one", async () => {
  vi.stubEnv("JWT_ALGORITHM", "ES256");
  const complained = vi.spyOn(console, "error").mockImplementation(() => {});
  expect(await tokenCommand([])).toBe(2);
  expect(complained.mock.calls[0]?.[0]).toContain("get one from the issuer");
});

test("--help prints the usage", async () => {
  const printed = vi.spyOn(console, "log").mockImplementation(() => {});
  expect(await tokenCommand(["--help"])).toBe(0);
  expect(printed.mock.calls[0]?.[0]).toContain("Prints a token");
});
