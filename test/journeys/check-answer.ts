import { type OutputUnit, type Schema, Validator } from "@cfworker/json-schema";
import { expect } from "vitest";
import { z } from "zod";
import type { Answer, Target } from "./api.ts";

const schema = z.record(z.string(), z.unknown());
const header = z.looseObject({
  $ref: z.string().optional(),
  required: z.boolean().optional(),
  schema: schema.optional(),
});
const response = z.looseObject({
  $ref: z.string().optional(),
  headers: z.record(z.string(), header).default({}),
  content: z.record(z.string(), z.looseObject({ schema })).default({}),
});
const operation = z.looseObject({
  operationId: z.string(),
  responses: z.record(z.string(), response),
});
/** What of the API's OpenAPI document says how it answers. */
const document = z.looseObject({
  paths: z.record(z.string(), z.record(z.string(), z.unknown())),
  components: z.looseObject({
    schemas: z.record(z.string(), schema),
    responses: z.record(z.string(), response),
    headers: z.record(z.string(), header),
  }),
});
type ApiDocument = z.output<typeof document> & { validators: Map<string, Validator> };
type Response = z.output<typeof response>;

const base = "/api/v1";
/** Of the headers that an answer has, these are the API's: one that the document does not name is a mistake. */
const apiHeaders = [
  "allow",
  "idempotency-replayed",
  "location",
  "ratelimit-policy",
  "retry-after",
  "www-authenticate",
];

const documents = new WeakMap<Target, Promise<ApiDocument>>();

/**
 * Holds an answer against the OpenAPI document: its status must be one of the operation's, and type, headers
 * and body as they are described, with no field that is not.
 */
export async function checkAnswer(
  target: Target,
  method: string,
  path: string,
  answer: Answer,
): Promise<void> {
  const known = documents.get(target) ?? readDocument(target);
  documents.set(target, known);
  const api = await known;
  const problems = findProblems(api, method, new URL(path, "http://api").pathname, answer);
  expect(problems, `${method} ${path} does not answer as its document says`).toEqual([]);
}

async function readDocument(target: Target): Promise<ApiDocument> {
  const answer = await target.fetch(`${base}/openapi.json`);
  const parsed = document.parse(await answer.json());
  const { schemas } = parsed.components;
  for (const [name, one] of Object.entries(schemas)) schemas[name] = closed(one);
  return { ...parsed, validators: new Map() };
}

/** Answers may get new fields, and clients pass over them; but no field may come that is not described. */
function closed(one: z.output<typeof schema>): z.output<typeof schema> {
  const parts = Object.entries(one).map(([key, value]): [string, unknown] => {
    const isSchema = typeof value === "object" && value !== null && !Array.isArray(value);
    return [key, isSchema && key !== "default" ? closed(schema.parse(value)) : value];
  });
  const copy = Object.fromEntries(parts);
  const isOpen = "properties" in one && one["type"] !== undefined;
  return isOpen && !("additionalProperties" in one)
    ? { ...copy, additionalProperties: false }
    : copy;
}

function findProblems(api: ApiDocument, method: string, path: string, answer: Answer): string[] {
  const found = findOperation(api, method, path);
  if (!found) return [404, 405].includes(answer.status) ? checkUnknown(api, answer) : [];
  const said = found.responses[answer.status];
  if (!said) return [`the document has no ${answer.status} for ${found.operationId}`];
  const shown = said.$ref === undefined ? said : api.components.responses[nameIn(said.$ref)];
  if (!shown) return [`there is no ${said.$ref}`];
  return [...checkHeaders(api, shown, answer), ...checkBody(api, shown, answer)];
}

/** A path that the document does not have, or a method: their errors are the same everywhere. */
function checkUnknown(api: ApiDocument, answer: Answer): string[] {
  const problem = {
    "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
  };
  const allow = { required: true, schema: { type: "string" } };
  const headers = {
    "X-Request-Id": { $ref: "#/components/headers/RequestId" },
    ...(answer.status === 405 ? { Allow: allow } : {}),
  };
  const shown = { headers, content: problem };
  return [...checkHeaders(api, shown, answer), ...checkBody(api, shown, answer)];
}

function findOperation(api: ApiDocument, method: string, path: string) {
  const wanted = path.replace(/\/$/, "").replace(base, "").split("/");
  const matching = Object.keys(api.paths).filter((pattern) => {
    const parts = pattern.split("/");
    return (
      parts.length === wanted.length &&
      parts.every((part, n) => part.startsWith("{") || part === wanted[n])
    );
  });
  // A path that is named whole comes before one with a parameter.
  const [pattern = ""] = matching.toSorted(
    (a, b) => Number(a.includes("{")) - Number(b.includes("{")),
  );
  const item = api.paths[pattern]?.[method.toLowerCase()];
  return item === undefined ? undefined : operation.parse(item);
}

function checkHeaders(api: ApiDocument, shown: Response, { headers }: Answer): string[] {
  const known = Object.keys(shown.headers).map((name) => name.toLowerCase());
  const unknown = apiHeaders.filter((name) => headers.has(name) && !known.includes(name));
  const wrong = Object.entries(shown.headers).flatMap(([name, said]) => {
    const one = said.$ref === undefined ? said : api.components.headers[nameIn(said.$ref)];
    const value = headers.get(name);
    if (!one || value === null) return one?.required === false ? [] : [`${name} is missing`];
    const sent = one.schema?.["type"] === "integer" ? Number(value) : value;
    return validate(api, one.schema ?? {}, sent).map((text) => `${name} ${text}`);
  });
  return [...unknown.map((name) => `${name} is not described`), ...wrong];
}

function checkBody(api: ApiDocument, shown: Response, answer: Answer): string[] {
  const type = (answer.headers.get("Content-Type") ?? "").replace(/;.*/, "");
  const said = shown.content[type];
  if (!said) return [`a body of ${type || "no type"} is not described`];
  return validate(api, said.schema, answer.body).map((text) => `the body ${text}`);
}

function validate(api: ApiDocument, one: z.output<typeof schema>, value: unknown): string[] {
  const key = JSON.stringify(one);
  const made = api.validators.get(key) ?? newValidator(api, one);
  api.validators.set(key, made);
  const { valid, errors } = made.validate(value);
  return valid ? [] : errors.map(textOf);
}

function newValidator(api: ApiDocument, one: z.output<typeof schema>): Validator {
  const whole: Schema = { ...one, components: { schemas: api.components.schemas } };
  return new Validator(whole, "2020-12", false);
}

const textOf = ({ instanceLocation, error }: OutputUnit) => `at ${instanceLocation}: ${error}`;

const nameIn = (ref: string) => ref.slice(ref.lastIndexOf("/") + 1);
