import type { OpenAPIHono } from "@hono/zod-openapi";
import type { Context } from "hono";
import { problems } from "../../platform/errors.ts";
import type { AppEnv } from "../env.ts";
import { problemAnswer } from "../problem-answers.ts";
import { exampleOf } from "./document-examples.ts";
import {
  commonProblems,
  documentParts,
  rateLimitHeader,
  requestIdHeader,
  requestIdParameter,
  securitySchemes,
} from "./document-parts.ts";

type Router = OpenAPIHono<AppEnv>;
type Document = ReturnType<Router["getOpenAPI31Document"]>;
type PathItem = NonNullable<Document["paths"]>[string];
type Operation = NonNullable<PathItem["get"]>;

type Schemas = Parameters<typeof exampleOf>[1];
/** A response or a request body, or a reference to one. */
type Body = {
  $ref?: string;
  headers?: object;
  content?: Record<string, { schema?: Schemas[string]; example?: unknown }>;
};

const methods = ["get", "post", "put", "patch", "delete"] as const;

/** The OpenAPI 3.1 document of the routes, made from the schemas that validate. */
export function openApiDocument(api: Router) {
  let text: string | undefined;
  return (c: Context<AppEnv>) => {
    text ??= JSON.stringify(documentOf(api));
    return c.body(text, 200, { "Content-Type": "application/json" });
  };
}

function documentOf(api: Router): Document {
  const { openAPIRegistry: registry } = api;
  for (const [name, scheme] of Object.entries(securitySchemes))
    registry.registerComponent("securitySchemes", name, scheme);
  for (const { name, codes } of commonProblems)
    registry.registerComponent("responses", name, withPlainSchema(problemAnswer(codes)));
  registry.registerComponent("headers", "RequestId", requestIdHeader);
  registry.registerComponent("headers", "RateLimitPolicy", rateLimitHeader);
  registry.registerComponent("parameters", "RequestId", requestIdParameter);
  const document = api.getOpenAPI31Document(documentParts);
  const schemas: Schemas = document.components?.schemas ?? {};
  for (const item of Object.values(document.paths ?? {}))
    for (const method of methods) if (item[method]) completeOperation(item[method], schemas);
  for (const answer of Object.values<Body>(document.components?.responses ?? {})) {
    addHeader(answer, "X-Request-Id", "RequestId");
    addHeader(answer, "RateLimit-Policy", "RateLimitPolicy");
  }
  return document;
}

/** Adds what no route says of itself, since all have it. */
function completeOperation(operation: Operation, schemas: Schemas): void {
  const responses: Record<string, Body> = operation.responses ?? {};
  const { security = [] } = operation;
  const takesToken = security.length > 0 && security.every((one) => Object.keys(one).length > 0);
  for (const answer of Object.values(responses)) {
    addHeader(answer, "X-Request-Id", "RequestId");
    if (takesToken) addHeader(answer, "RateLimit-Policy", "RateLimitPolicy");
    addExample(answer, schemas);
  }
  if (operation.requestBody) addExample(operation.requestBody, schemas);
  for (const { name, codes, forAll } of commonProblems) {
    const status = problems[codes[0]].status;
    if (forAll || takesToken) responses[status] ??= { $ref: `#/components/responses/${name}` };
  }
  const parameter = { $ref: "#/components/parameters/RequestId" };
  operation.parameters = [...(operation.parameters ?? []), parameter];
}

function addExample({ content }: Body, schemas: Schemas): void {
  const body = content?.["application/json"];
  if (body?.schema) body.example ??= exampleOf(body.schema, schemas);
}

function addHeader(answer: Body, name: string, component: string): void {
  const header = { $ref: `#/components/headers/${component}` };
  Object.assign(answer, { headers: { ...answer.headers, [name]: header } });
}

function withPlainSchema({ content, ...answer }: ReturnType<typeof problemAnswer>) {
  const { examples } = content["application/problem+json"];
  const schema = { $ref: "#/components/schemas/Problem" };
  return { ...answer, content: { "application/problem+json": { schema, examples } } };
}
