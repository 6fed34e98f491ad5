import { describe, expect, test } from "vitest";
import { callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { nowhere, token, workers, workersWith } from "./tools.ts";

const page = "https://app.example.com";
const open = workersWith({ ALLOWED_ORIGINS: `${page}, http://localhost:5173` });
const metricsToken = { Authorization: "Bearer a token for the tests' metrics" };

async function answered(
  method: string,
  path: string,
  more: { target?: typeof workers; headers?: Record<string, string>; body?: unknown } = {},
) {
  const { target = workers, headers = {}, body } = more;
  return await target.fetch(path, {
    method,
    redirect: "manual",
    headers: {
      Authorization: `Bearer ${await token({ tenant_id: newTenant() })}`,
      "Content-Type": "application/json",
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

describe("every answer", () => {
  // At an address of its own: the driver keeps one endpoint for each, and pollers work beside this.
  const noDatabase = workersWith({
    DATABASE_URL: "postgres://user:password@no-database.test/audit",
    NEON_FETCH_ENDPOINT: nowhere,
  });
  const broken = workersWith({ METRICS: undefined });

  test.each([
    [200, "GET", "/api/v1/logs", {}],
    [201, "POST", "/api/v1/logs", { body: entry() }],
    [200, "GET", "/api/v1/openapi.json", {}],
    [200, "GET", "/health", {}],
    [200, "GET", "/metrics", { headers: metricsToken }],
    [302, "GET", "/docs", {}],
    [400, "POST", "/api/v1/logs", { headers: { "Content-Length": "0" } }],
    [401, "GET", "/api/v1/logs", { headers: { Authorization: "" } }],
    [404, "GET", "/api/v1/nothing", {}],
    [404, "GET", "/api/v1/docs/nothing.js", {}],
    [405, "PUT", "/api/v1/logs", {}],
    [405, "OPTIONS", "/api/v1/logs", {}],
    [415, "POST", "/api/v1/logs", { headers: { "Content-Type": "text/plain" }, body: {} }],
    [422, "GET", "/api/v1/logs?page=0", {}],
    [500, "GET", "/metrics", { target: broken, headers: metricsToken }],
    [503, "GET", "/api/v1/logs/stats", { target: noDatabase }],
  ])("of %i to %s %s tells browsers to do nothing with it", async (status, method, path, more) => {
    const answer = await answered(method, path, more);
    expect(answer.status, await answer.clone().text()).toBe(status);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
      "x-request-id": expect.stringMatching(/./),
    });
    expect(answer.headers.has("Strict-Transport-Security")).toBe(false);
    await answer.text();
  });

  test("but the docs page, which has a policy of its own", async () => {
    const answer = await answered("GET", "/api/v1/docs");
    expect(answer.status).toBe(200);
    expect(answer.headers.get("Content-Security-Policy")).toContain("script-src 'self'");
    expect(answer.headers.get("Cache-Control")).toBe("public, max-age=300");
    expect(answer.headers.get("X-Content-Type-Options")).toBe("nosniff");
    await answer.text();
  });

  test("over https asks for https", async () => {
    const { SELF } = await import("cloudflare:test");
    for (const path of ["/health", "/nothing"]) {
      const answer = await SELF.fetch(`https://audit${path}`);
      expect(answer.headers.get("Strict-Transport-Security")).toBe("max-age=31536000");
      await answer.text();
    }
  });
});

describe("a page of another origin", () => {
  const corsHeaders = (answer: Response) =>
    [...answer.headers.keys()].filter((name) => name.startsWith("access-control-"));
  const preflight = (target: typeof workers, origin: string, path = "/api/v1/logs") =>
    target.fetch(path, {
      method: "OPTIONS",
      headers: {
        Origin: origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
      },
    });

  test("is let in nowhere, unless ALLOWED_ORIGINS names it", async () => {
    for (const target of [workers, workersWith({ ALLOWED_ORIGINS: "https://*.example.com" })]) {
      const asked = await preflight(target, page);
      expect([asked.status, corsHeaders(asked)]).toEqual([405, []]);
      const answer = await answered("GET", "/api/v1/logs", { target, headers: { Origin: page } });
      expect([answer.status, corsHeaders(answer)]).toEqual([200, []]);
      await Promise.all([asked.text(), answer.text()]);
    }
  });

  test.each(["https://app.example.com.evil.test", "https://evil.test", "null", "http://localhost"])(
    "%s is not let in where others are",
    async (origin) => {
      const asked = await preflight(open, origin);
      expect([asked.status, corsHeaders(asked)]).toEqual([405, []]);
      const more = { target: open, headers: { Origin: origin } };
      const answer = await answered("GET", "/api/v1/logs", more);
      expect([answer.status, corsHeaders(answer)]).toEqual([200, []]);
      expect(answer.headers.get("Vary")).toContain("Origin");
      await Promise.all([asked.text(), answer.text()]);
    },
  );

  test("that is named may send what the API takes, and is told so for an hour", async () => {
    const asked = await preflight(open, page, "/api/v1/logs/bulk");
    expect(asked.status).toBe(204);
    expect(Object.fromEntries(asked.headers)).toMatchObject({
      "access-control-allow-origin": page,
      "access-control-allow-methods": "GET,POST,PATCH,DELETE",
      "access-control-allow-headers": "Authorization,Content-Type,Idempotency-Key,X-Request-Id",
      "access-control-max-age": "3600",
      vary: expect.stringContaining("Origin"),
    });
    expect(asked.headers.has("Access-Control-Allow-Credentials")).toBe(false);
  });

  test.each([
    [201, "POST", "/api/v1/logs", { body: entry() }],
    [401, "GET", "/api/v1/logs", { headers: { Authorization: "Bearer x" } }],
    [404, "GET", "/api/v1/nothing", {}],
    [405, "PUT", "/api/v1/logs", {}],
    [422, "GET", "/api/v1/logs?page=0", {}],
  ])("that is named reads a %i of %s %s, and its headers", async (status, method, path, more) => {
    const headers = { ...("headers" in more ? more.headers : {}), Origin: page };
    const answer = await answered(method, path, { ...more, target: open, headers });
    expect(answer.status).toBe(status);
    expect(answer.headers.get("Access-Control-Allow-Origin")).toBe(page);
    expect(answer.headers.get("Vary")).toContain("Origin");
    const exposed = answer.headers.get("Access-Control-Expose-Headers")?.split(",") ?? [];
    const named = ["Location", "X-Request-Id", "WWW-Authenticate", "Allow", "Retry-After"];
    expect(exposed).toEqual(expect.arrayContaining(named));
    await answer.text();
  });

  test("that is named gets no answer without a token either", async () => {
    const { status } = await answered("GET", "/api/v1/logs", {
      target: open,
      headers: { Origin: page, Authorization: "", Cookie: "token=x" },
    });
    expect(status).toBe(401);
  });
});

describe("a header of the caller's", () => {
  const caller = callerOf(workers, { tenant_id: newTenant() });
  const send = (headers: Record<string, string>, body: unknown = entry()) =>
    caller.call("POST", "/api/v1/logs", body, headers);

  test.each(["é", "a b", "a,b", "x\ty", "<script>", "%0d%0aSet-Cookie:a", "x".repeat(129)])(
    "X-Request-Id of %j comes back as another one",
    async (sent) => {
      const { headers } = await send({ "X-Request-Id": sent });
      expect(headers.get("X-Request-Id")).toMatch(/^[\da-f-]{36}$/);
    },
  );

  test.each(["é", "ключ", "a\tb c", "<script>alert(1)</script>", "'; drop table audit_logs; --"])(
    "Idempotency-Key of %j is a name like any other, and stands in no answer",
    async (key) => {
      const sent = key + crypto.randomUUID();
      const body = entry({ resource_id: crypto.randomUUID() });
      const [first, second] = [
        await send({ "Idempotency-Key": sent }, body),
        await send({ "Idempotency-Key": sent }, body),
      ];
      expect([first.status, second.status], first.text).toEqual([201, 201]);
      expect(second.headers.get("Idempotency-Replayed")).toBe("true");
      expect(second.text).toBe(first.text);
      expect(JSON.stringify([...second.headers])).not.toContain(key);
    },
  );

  test("Content-Encoding is refused, since no coding is taken", async () => {
    for (const coding of ["gzip", "br", "identity, gzip", "deflate"]) {
      const packed = new Response(JSON.stringify(entry())).body?.pipeThrough(
        new CompressionStream("gzip"),
      );
      const response = await workers.fetch("/api/v1/logs", {
        method: "POST",
        headers: {
          Authorization: `Bearer ${await token({})}`,
          "Content-Type": "application/json",
          "Content-Encoding": coding,
        },
        body: await new Response(packed).arrayBuffer(),
      });
      expect(response.status).toBe(415);
      expect(response.headers.get("Accept-Encoding")).toBe("identity");
      expect(await response.json()).toMatchObject({
        code: "unsupported_media_type",
        detail: "Send the body as it is: no Content-Encoding is taken.",
      });
    }
    expect((await send({ "Content-Encoding": "identity" })).status).toBe(201);
  });
});

describe("an answer's Location", () => {
  const admin = callerOf(workers, { role: "platform_admin", tenant_id: undefined });

  test.each(["a\r\nSet-Cookie: x=1", "../../tenants", "é🔥 %2f?#", '"<>', "a\tb"])(
    "leads to a tenant of the id %j, and to nothing else",
    async (odd) => {
      const id = `${odd}${crypto.randomUUID()}`;
      const made = await admin.post("/api/v1/tenants", { id });
      expect(made.status, made.text).toBe(201);
      const location = made.headers.get("Location") ?? "";
      expect(location).toMatch(/^\/api\/v1\/tenants\/[\w.!~*'()%-]+$/);
      expect(made.headers.has("Set-Cookie")).toBe(false);
      expect((await admin.get(location)).body).toMatchObject({ data: { id } });
      const owner = callerOf(workers, { tenant_id: id });
      const key = await owner.post(`${location}/keys`, { name: "k", roles: ["writer"] });
      expect(key.status, key.text).toBe(201);
      const toKey = key.headers.get("Location") ?? "";
      expect(toKey.startsWith(`${location}/keys/`)).toBe(true);
      expect((await owner.call("DELETE", toKey)).status).toBe(200);
    },
  );

  test("is never asked for a tenant whose id is no Unicode", async () => {
    const answer = await admin.post("/api/v1/tenants", '{"id":"\\ud800"}');
    expect(expectProblem(answer, 422, "validation_failed")).toEqual(["/id"]);
  });
});
