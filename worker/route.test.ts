import { OpenAPIHono } from "@hono/zod-openapi";
import { describe, expect, test } from "vitest";
import { app } from "./app.ts";
import type { AppEnv } from "./env.ts";
import { declareRoute, gate, refuseUndeclared } from "./route.ts";

const answer = () => new Response("");

describe("a router", () => {
  const newRouter = () => new OpenAPIHono<AppEnv>();

  test("does not start with a route that says nothing of who may call it", () => {
    const router = newRouter();
    router.get("/open", answer);
    router.use(gate("anyone"));
    const outer = newRouter();
    outer.route("/api", router);
    expect(() => refuseUndeclared(outer)).toThrow("GET /api/open");
  });

  test("does not take one method's declaration for another's", () => {
    const router = newRouter();
    router.get("/logs", gate("anyone"), answer);
    router.delete("/logs", answer);
    expect(() => refuseUndeclared(router)).toThrow("DELETE /logs");
  });

  test("starts where every route says it", () => {
    const router = newRouter();
    const route = declareRoute({
      method: "get",
      path: "/logs/{id}",
      access: ["admin"],
      responses: { 200: { description: "It is there." } },
    });
    router.openapi(route, answer);
    router.get("/page", gate("anyone"), answer);
    const outer = newRouter();
    outer.route("/api", router);
    expect(() => refuseUndeclared(outer)).not.toThrow();
    expect(() => refuseUndeclared(app)).not.toThrow();
  });

  test("says in its document who may call a route", () => {
    const route = declareRoute({
      method: "get",
      path: "/logs",
      access: ["admin", "auditor"],
      responses: { 200: { description: "It is there." } },
    });
    const router = newRouter();
    router.openapi(route, answer);
    const document = router.getOpenAPI31Document({
      openapi: "3.1.0",
      info: { title: "", version: "" },
    });
    expect(document.paths?.["/logs"]?.get).toEqual({
      security: [{ token: [] }, { apiKey: [] }],
      "x-roles": ["admin", "auditor"],
      responses: { 200: { description: "It is there." } },
    });
  });
});
