import type { JWTPayload } from "jose";
import { expect } from "vitest";
import { z } from "zod";
import { checkAnswer } from "./check-answer.ts";

/** Where a journey runs: inside workerd, against the local stack, or against a deployed service. */
export type Target = {
  fetch: (path: string, init?: RequestInit) => Promise<Response>;
  token: (claims: JWTPayload) => Promise<string>;
};

export type Answer = { status: number; headers: Headers; text: string; body: unknown };

export const listed = z.looseObject({
  items: z.array(z.looseObject({ id: z.string(), action: z.string() })),
  total: z.number(),
  total_is_lower_bound: z.literal(true).optional(),
  next_cursor: z.string().nullable(),
  indexed_through: z.string(),
  source: z.string(),
});
export const problem = z.strictObject({
  type: z.string(),
  title: z.string(),
  status: z.number(),
  code: z.string(),
  detail: z.string(),
  request_id: z.string(),
  errors: z.array(z.strictObject({ path: z.string(), message: z.string() })).optional(),
});
const created = z.strictObject({
  data: z.strictObject({ id: z.string(), tenant_id: z.string(), created_at: z.iso.datetime() }),
});
export const createdMany = z.strictObject({
  data: z.strictObject({ affected_rows: z.number(), log_ids: z.array(z.string()) }),
});

/** The calls of one caller, each with its token. Every answer is held against the OpenAPI document. */
export type Client = ReturnType<typeof callerOf>;

let count = 0;
/** A tenant that no other test has. */
export const newTenant = () => `tenant-${crypto.randomUUID()}-${count++}`;

export const entry = (fields: object = {}) => ({
  action: "document.opened",
  resource_type: "document",
  resource_id: "doc_1",
  ...fields,
});

export function callerOf(target: Target, claims: JWTPayload) {
  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const response = await target.fetch(path, {
      method,
      headers: {
        Authorization: `Bearer ${await target.token(claims)}`,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("Content-Type") ?? "");
    const answer = {
      status: response.status,
      headers: response.headers,
      text,
      body: isJson ? JSON.parse(text) : undefined,
    };
    await checkAnswer(target, method, path, answer);
    return answer;
  }

  const self = {
    call,
    get: (path: string) => call("GET", path),
    post: (path: string, body: unknown) => call("POST", path, body),
    /** Stores a log and returns its id. */
    async create(fields: object = {}): Promise<string> {
      const answer = await call("POST", "/api/v1/logs", entry(fields));
      expect(answer.status, answer.text).toBe(201);
      return created.parse(answer.body).data.id;
    },
    async createAll(logs: object[]): Promise<string[]> {
      const answer = await call("POST", "/api/v1/logs/bulk", { logs: logs.map(entry) });
      expect(answer.status, answer.text).toBe(201);
      return createdMany.parse(answer.body).data.log_ids;
    },
    async list(query: Record<string, string> | [string, string][] = {}) {
      const answer = await call("GET", `/api/v1/logs?${new URLSearchParams(query)}`);
      expect(answer.status, answer.text).toBe(200);
      return listed.parse(answer.body);
    },
    /** Waits until everything that was stored before this call is searchable. */
    async settled(): Promise<void> {
      const began = new Date().toISOString();
      const deadline = Date.now() + 20_000;
      while ((await self.list()).indexed_through < began) {
        if (Date.now() > deadline) throw new Error("The logs did not become searchable in 20 s.");
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    },
  };
  return self;
}

/** Asserts an error answer by its code, and returns the places that it names. */
export function expectProblem(answer: Answer, status: number, code: string): string[] {
  expect(answer.status, answer.text).toBe(status);
  expect(answer.headers.get("Content-Type")).toBe("application/problem+json");
  const parsed = problem.parse(answer.body);
  expect(parsed).toMatchObject({ status, code, request_id: answer.headers.get("X-Request-Id") });
  return (parsed.errors ?? []).map((error) => error.path).toSorted();
}
