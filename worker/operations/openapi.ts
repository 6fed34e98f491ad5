import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { AppEnv } from "../env.ts";

/** The OpenAPI 3.1 document of the routes, made from the schemas that validate. */
export function openApiDocument(api: OpenAPIHono<AppEnv>) {
  api.openAPIRegistry.registerComponent("securitySchemes", "token", {
    type: "http",
    scheme: "bearer",
    bearerFormat: "JWT",
  });
  let text: string | undefined;
  return (c: Context<AppEnv>) => {
    text ??= JSON.stringify(
      api.getOpenAPI31Document({
        openapi: "3.1.0",
        info: { title: "Audit log service", version: "1", license: { name: "Apache-2.0" } },
        servers: [{ url: "/api/v1" }],
        security: [{ token: [] }],
      }),
    );
    return c.body(text, 200, { "Content-Type": "application/json" });
  };
}
