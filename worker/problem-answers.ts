import { z } from "@hono/zod-openapi";
import { problems } from "../platform/errors.ts";

const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(problems)).meta({ description: "Stable; made for programs." }),
    detail: z.string().meta({ description: "For a person." }),
    request_id: z.string(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .openapi("Problem");

type Status = (typeof problems)[keyof typeof problems]["status"];

/** The errors that a route can answer with, for the OpenAPI document. */
export function problemAnswers<const S extends Status>(...statuses: S[]) {
  const answer = (status: S) => ({
    description: Object.values(problems)
      .filter((entry) => entry.status === status)
      .map((entry) => entry.title)
      .join(", or: "),
    content: { "application/problem+json": { schema: problem } },
  });
  return Object.fromEntries(statuses.map((status) => [status, answer(status)])) as Record<
    S,
    ReturnType<typeof answer>
  >;
}
