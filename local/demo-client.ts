import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";

/** A failure to tell the user in one line, without a stack. */
export class DemoError extends Error {}

export type Sent = {
  method?: "GET" | "POST" | "DELETE";
  query?: readonly (readonly [name: string, value: string])[];
  body?: unknown;
  /** Sent as Idempotency-Key. */
  idempotencyKey?: string;
};

export type Answer<T> = { data: T; ms: number; attempts: number };

export type Client = {
  request: <T>(path: string, schema: z.ZodType<T>, sent?: Sent) => Promise<Answer<T>>;
};

const TIMEOUT_MS = 10_000;
const ATTEMPTS = 4;
const LONGEST_WAIT_MS = 5_000;

const problem = z.object({
  code: z.string().optional(),
  title: z.string().optional(),
  detail: z.string().optional(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});

/** A client of the API under `url`. Network errors, 429 and 5xx are repeated with the same key, any other 4xx is not. Should a log be stored twice by that, the counts say so. */
export function createClient(url: string, token: string): Client {
  return {
    async request(path, schema, sent = {}) {
      const target = new URL(`/api/v1${path}`, url);
      for (const [name, value] of sent.query ?? []) target.searchParams.append(name, value);
      const method = sent.method ?? "GET";
      const init = {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(sent.body === undefined ? {} : { "content-type": "application/json" }),
          ...(sent.idempotencyKey === undefined ? {} : { "idempotency-key": sent.idempotencyKey }),
        },
        body: sent.body === undefined ? null : JSON.stringify(sent.body),
      };
      const started = performance.now();
      for (let attempt = 1; ; attempt += 1) {
        const outcome = await once(target, init);
        const isLast = attempt === ATTEMPTS || !outcome.repeatable;
        if (outcome.ok) {
          const parsed = schema.safeParse(outcome.json);
          if (!parsed.success) {
            throw new DemoError(
              `${method} ${path} answered in another form than the contract's: ${z.prettifyError(parsed.error)}`,
            );
          }
          return { data: parsed.data, ms: performance.now() - started, attempts: attempt };
        }
        if (isLast) throw new DemoError(`${method} ${path} ${outcome.reason}`);
        await sleep(Math.min(outcome.retryAfterMs ?? 200 * 2 ** attempt, LONGEST_WAIT_MS));
      }
    },
  };
}

type Outcome =
  | { ok: true; json: unknown; repeatable: false }
  | { ok: false; reason: string; repeatable: boolean; retryAfterMs?: number };

async function once(target: URL, init: RequestInit): Promise<Outcome> {
  let status: number;
  let text: string;
  let retryAfter: string | null;
  try {
    const response = await fetch(target, { ...init, signal: AbortSignal.timeout(TIMEOUT_MS) });
    status = response.status;
    retryAfter = response.headers.get("retry-after");
    text = await response.text();
  } catch (error) {
    return { ok: false, reason: `failed: ${reasonOf(error)}`, repeatable: true };
  }
  const json = parseJson(text);
  if (status >= 200 && status < 300) return { ok: true, json, repeatable: false };
  const seconds = Number(retryAfter);
  return {
    ok: false,
    reason: `answered ${status} ${explain(json)}`.trim(),
    repeatable: status === 429 || status >= 500,
    ...(retryAfter !== null && seconds > 0 ? { retryAfterMs: seconds * 1000 } : {}),
  };
}

/** `fetch` hides what went wrong in `cause`. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? error.cause : error;
  // An AggregateError (localhost on IPv4 and IPv6) has a code and no message.
  return cause.message || ("code" in cause ? String(cause.code) : cause.name);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function explain(json: unknown): string {
  const { data } = problem.safeParse(json);
  if (data === undefined) return "";
  const errors = (data.errors ?? []).slice(0, 3).map(({ path, message }) => `${path} ${message}`);
  return [data.code, data.detail ?? data.title, ...errors].filter(Boolean).join("; ");
}

/** Runs `work` over all items, at most `limit` at a time, and stops starting more after the first failure. */
export async function inParallel<Item>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<void>,
): Promise<void> {
  const rest = items.entries();
  let failed = false;
  const lane = async () => {
    for (const [index, item] of rest) {
      if (failed) return;
      try {
        await work(item, index);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: limit }, lane));
}
