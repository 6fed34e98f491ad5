import { describe, expect, test } from "vitest";
import { callerOf, entry, expectProblem, newTenant, type Target } from "./api.ts";

/** Bad input gets the contract's error, says what to do, and never a 500. */
export function errorJourneys(target: Target): void {
  const caller = callerOf(target, { tenant_id: newTenant(), role: "admin", sub: "alice" });
  const post = (body: unknown, headers?: Record<string, string>) =>
    caller.call("POST", "/api/v1/logs", body, headers);

  describe("a body", () => {
    test.each(["", "{", "[1,]", '{"action": undefined}', "\u0000", "nul"])(
      "that is %j is 400",
      async (body) => {
        expectProblem(await post(body), 400, "malformed_json");
      },
    );

    test("that is not UTF-8 is 400", async () => {
      const response = await target.fetch("/api/v1/logs", {
        method: "POST",
        headers: {
          Authorization: `Bearer ${await target.token({})}`,
          "Content-Type": "application/json",
        },
        body: new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]),
      });
      expect(response.status).toBe(400);
      expect(await response.json()).toMatchObject({ code: "malformed_json" });
    });

    test.each(["null", "[]", '"text"', "7", "{}"])("that is %s is 422", async (body) => {
      expectProblem(await post(body), 422, "validation_failed");
    });

    test("that is not JSON is 415", async () => {
      expectProblem(
        await post("a=1", { "Content-Type": "application/x-www-form-urlencoded" }),
        415,
        "unsupported_media_type",
      );
    });

    test("with a type of the JSON family is taken", async () => {
      expect(
        (await post(entry(), { "Content-Type": "application/json; charset=utf-8" })).status,
      ).toBe(201);
    });

    test("has all its mistakes named at once, by their places", async () => {
      const answer = await post({
        action: "",
        resource_id: 7,
        severity: "loud",
        outcome: "maybe",
        actor_type: "robot",
        metadata: [],
        occurred_at: "yesterday",
        targets: [{ type: "folder" }, { id: "x", type: "", extra: 1 }],
        colour: "red",
        "a/b~c": 1,
        id: "mine",
        tenant_id: "other",
      });
      expect(expectProblem(answer, 422, "validation_failed")).toEqual(
        [
          "/a~1b~0c",
          "/action",
          "/actor_type",
          "/colour",
          "/id",
          "/metadata",
          "/occurred_at",
          "/outcome",
          "/resource_id",
          "/resource_type",
          "/severity",
          "/targets/0/id",
          "/targets/1/extra",
          "/targets/1/type",
          "/tenant_id",
        ].toSorted(),
      );
    });

    test("with an unknown field called __proto__ is refused like any other", async () => {
      const body = JSON.stringify(entry()).replace("{", '{"__proto__":{"x":1},');
      expect(expectProblem(await post(body), 422, "validation_failed")).toEqual(["/__proto__"]);
    });

    test.each([
      [{ action: "audit_log.searched" }, "/action"],
      [{ action: "x".repeat(256) }, "/action"],
      [{ occurred_at: "2026-02-30T00:00:00Z" }, "/occurred_at"],
      [{ occurred_at: "2026-01-31T09:30:00" }, "/occurred_at"],
      [{ occurred_at: new Date(Date.now() + 6 * 60_000).toISOString() }, "/occurred_at"],
      [{ targets: Array.from({ length: 21 }, () => ({ type: "a", id: "b" })) }, "/targets"],
      [{ event_id: "x".repeat(256) }, "/event_id"],
      [{ metadata: nested(21) }, "/metadata"],
      [{ before_state: "text" }, "/before_state"],
    ])("with %j is refused", async (fields, path) => {
      expect(expectProblem(await post(entry(fields)), 422, "validation_failed")).toEqual([path]);
    });

    test("may be nested 20 deep, and has occurred up to 5 minutes ahead", async () => {
      const soon = new Date(Date.now() + 4 * 60_000).toISOString();
      expect((await post(entry({ metadata: nested(20), occurred_at: soon }))).status).toBe(201);
    });

    test("that is nested 100,000 deep is refused like any other", async () => {
      const body = JSON.stringify(entry({ metadata: { a: 1 } })).replace(
        "1}",
        `${"[".repeat(1e5)}${"]".repeat(1e5)}}`,
      );
      expect(expectProblem(await post(body), 422, "validation_failed")).toEqual(["/metadata"]);
    });

    test("of more than 256 KiB is 413", async () => {
      expectProblem(
        await post(entry({ metadata: { text: "x".repeat(256 * 1024) } })),
        413,
        "too_large",
      );
    });

    test("is counted where the route has no use for it, too", async () => {
      const path = `/api/v1/logs/export/${crypto.randomUUID()}/retry`;
      const headers = { "Idempotency-Key": "k" };
      const large = await caller.call("POST", path, { text: "x".repeat(20_000) }, headers);
      expectProblem(large, 413, "too_large");
      expectProblem(await caller.call("POST", path, {}, headers), 404, "not_found");
    });

    test("of more than 256 KiB is 413 where its length is not declared", async () => {
      const chunk = new TextEncoder().encode("x".repeat(64 * 1024));
      let sent = 0;
      const stream = new ReadableStream({
        pull(controller) {
          if (sent++ < 8) controller.enqueue(chunk);
          else controller.close();
        },
      });
      const headers = {
        Authorization: `Bearer ${await target.token({})}`,
        "Content-Type": "application/json",
      };
      const response = await target.fetch("/api/v1/logs", {
        method: "POST",
        headers,
        body: stream,
        duplex: "half",
      } as RequestInit);
      expect(response.status).toBe(413);
    });

    test("of a bulk may hold 4 MiB, but no entry of more than 256 KiB", async () => {
      const large = entry({ metadata: { text: "x".repeat(240 * 1024) } });
      const whole = await caller.call("POST", "/api/v1/logs/bulk", {
        logs: Array.from({ length: 16 }, () => large),
      });
      expect(whole.status, whole.text).toBe(201);
      const over = await caller.call("POST", "/api/v1/logs/bulk", {
        logs: Array.from({ length: 18 }, () => large),
      });
      expectProblem(over, 413, "too_large");
      const tooLarge = entry({ metadata: { text: "é".repeat(140 * 1024) } });
      const entries = await caller.call("POST", "/api/v1/logs/bulk", { logs: [entry(), tooLarge] });
      expect(expectProblem(entries, 413, "too_large")).toEqual(["/logs/1"]);
    });

    test.each([[[]], [Array.from({ length: 101 }, () => entry())]])(
      "of a bulk has 1 to 100 entries",
      async (logs) => {
        const answer = await caller.call("POST", "/api/v1/logs/bulk", { logs });
        expect(expectProblem(answer, 422, "validation_failed")).toEqual(["/logs"]);
      },
    );
  });

  describe("a query", () => {
    test.each([
      ["serverity=INFO", "serverity"],
      ["severity=LOUD", "severity"],
      ["outcome=maybe", "outcome"],
      ["user_id=", "user_id"],
      ["from=yesterday", "from"],
      ["from=9999-12-31T23:59:59-01:00", "from"],
      ["occurred_from=9999-12-31T23:59:59-01:00", "occurred_from"],
      ["from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"],
      ["occurred_from=2026-01-02T00:00:00Z&occurred_to=2026-01-02T00:00:00Z", "occurred_to"],
      ["metadata.=x", "metadata."],
      [`metadata.${"x".repeat(501)}=x`, `metadata.${"x".repeat(501)}`],
      [Array.from({ length: 21 }, (_, n) => `metadata.${n}=x`).join("&"), "metadata"],
      ["search=", "search"],
      ["search=%22!!%22", "search"],
      [`search=${"x".repeat(513)}`, "search"],
      [`search=${"x+".repeat(33)}`, "search"],
    ])("of %s is 422 in lists and in stats", async (query, path) => {
      for (const route of ["logs", "logs/stats"]) {
        const answer = await caller.get(`/api/v1/${route}?${query}`);
        expect(expectProblem(answer, 422, "validation_failed")).toEqual([path]);
      }
    });

    test.each([
      ["page=0", "page"],
      ["page=1.5", "page"],
      ["page=-1", "page"],
      ["page_size=101", "page_size"],
      ["page_size=0", "page_size"],
      ["page=101&page_size=100", "page"],
      ["order=up", "order"],
      ["cursor=", "cursor"],
      ["cursor=nonsense", "cursor"],
      ["cursor=WzEsImEiXQ", "cursor"],
      [`cursor=${"x".repeat(600)}`, "cursor"],
      ["from=x&page=0&order=up", "from,order,page"],
    ])("of %s is 422 in lists", async (query, paths) => {
      const answer = await caller.get(`/api/v1/logs?${query}`);
      expect(expectProblem(answer, 422, "validation_failed").join(",")).toBe(paths);
    });

    test("beyond 10,000 logs is pointed at the cursor", async () => {
      const answer = await caller.get("/api/v1/logs?page=1001");
      expect(answer.text).toContain("cursor");
      expect((await caller.get("/api/v1/logs?page=1000")).status).toBe(200);
    });
  });

  describe("a path", () => {
    test("that is unknown is 404, with or without a token", async () => {
      expectProblem(await caller.get("/api/v1/log"), 404, "not_found");
      const response = await target.fetch("/nothing");
      expect(response.status).toBe(404);
      expect(response.headers.get("Content-Type")).toBe("application/problem+json");
    });

    test("with another method is 405 and says which it takes", async () => {
      const answer = await caller.call("DELETE", "/api/v1/logs");
      expectProblem(answer, 405, "method_not_allowed");
      expect(answer.headers.get("Allow")?.split(", ").toSorted()).toEqual(["GET", "POST"]);
      expectProblem(await caller.call("PUT", "/api/v1/logs/x/"), 405, "method_not_allowed");
    });

    test("that is named whole is not taken for a log's id", async () => {
      const answer = await caller.get("/api/v1/logs/bulk");
      expectProblem(answer, 405, "method_not_allowed");
      expect(answer.headers.get("Allow")).toBe("POST");
      expectProblem(await caller.call("PUT", "/api/v1/logs/stats/"), 405, "method_not_allowed");
    });

    test("of a log that is no UUID is 422, and of no log 404", async () => {
      expect(expectProblem(await caller.get("/api/v1/logs/42"), 422, "validation_failed")).toEqual([
        "log_id",
      ]);
      for (const id of [
        crypto.randomUUID(),
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
      ]) {
        expectProblem(await caller.get(`/api/v1/logs/${id}`), 404, "not_found");
      }
    });
  });

  describe("a request id", () => {
    test("is the caller's where it is sane, and a new one where not", async () => {
      const sane = await caller.call("GET", "/api/v1/logs", undefined, {
        "X-Request-Id": "req-1.A:b",
      });
      expect(sane.headers.get("X-Request-Id")).toBe("req-1.A:b");
      for (const odd of ["a b", "x".repeat(129), '"quoted"']) {
        const answer = await caller.call("GET", "/api/v1/logs", undefined, { "X-Request-Id": odd });
        expect(answer.headers.get("X-Request-Id")).toMatch(/^[\da-f-]{36}$/);
      }
    });
  });
}

function nested(depth: number): object {
  return depth === 1 ? {} : { a: nested(depth - 1) };
}
