import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { connectS3 } from "../../aws/s3.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { type Answer, callerOf, entry, newTenant, problem } from "../journeys/api.ts";
import { exported, start } from "./export-calls.ts";
import { stateOf, toolsOf, work } from "./export-steps.ts";
import { newQueue } from "./queues.ts";
import { workerEnv, workersWith } from "./tools.ts";

const host = "inside-7.internal.test";
/** Whatever a back end says when it breaks. None of it is for callers. */
const said = [
  `select "metadata" from audit_logs where tenant_id = 'hush'`,
  `at Object.query (/srv/hush/db/client.ts:31:7)`,
  `could not connect to ${host}:5432 as audit_api`,
];
const text = said.join("\n");

/** Each of them in the form that its back end gives errors in, and in forms that it never should. */
const oddAnswers: Record<string, () => Response | Promise<Response>> = {
  "does not answer": () => {
    throw new TypeError(text, { cause: new Error(text) });
  },
  "throws what is no error of fetch": () => {
    throw new DOMException(text, "TimeoutError");
  },
  "answers with an error of Postgres": () =>
    Response.json(
      { message: text, code: "XX000", detail: text, hint: text, where: text, severity: "ERROR" },
      { status: 400 },
    ),
  "answers with an error of OpenSearch": () =>
    Response.json(
      { error: { type: "hush", reason: text, stack_trace: text, root_cause: [] }, status: 500 },
      { status: 500 },
    ),
  "answers with an error of AWS": () =>
    new Response(
      `<?xml version="1.0"?><Error><Code>${said[2]}</Code><Message>${said[0]}</Message><HostId>${host}</HostId></Error>`,
      { status: 403 },
    ),
  "answers with a page of a proxy": () =>
    new Response(`<html><body><pre>${text}</pre></body></html>`, {
      status: 502,
      headers: { "Content-Type": "text/html", Server: host, "X-Request-Id": "hush" },
    }),
  "answers with something else": () => Response.json({ hush: text, rows: [[text]], hits: text }),
  "answers with a list": () => Response.json([text]),
  "answers with half of its JSON": () => new Response(`{"rows":[["${host}`),
  "answers with nothing": () => new Response(null, { status: 200 }),
  "sends elsewhere": () =>
    new Response(null, { status: 302, headers: { Location: `http://${host}/hush` } }),
  "breaks off": () => {
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(`{"rows":[["${host}`));
      },
      pull(controller) {
        controller.error(new Error(text));
      },
    });
    return new Response(body, { headers: { "Content-Type": "application/json" } });
  },
};

/** The variables by which the Worker finds the broken one at a host; all others are whole. */
const backends: Record<string, (host: string) => Record<string, string>> = {
  Postgres: (host) => ({
    DATABASE_URL: `postgres://audit:hush@${host}/hush`,
    NEON_FETCH_ENDPOINT: `http://${host}/sql`,
  }),
  OpenSearch: (host) => ({ OPENSEARCH_HOST: `http://${host}` }),
  SQS: (host) => ({ SQS_ENDPOINT: `http://${host}` }),
  S3: (host) => ({
    AWS_ENDPOINT_URL: `http://${host}`,
    SQS_ENDPOINT: workerEnv["AWS_ENDPOINT_URL"] ?? "",
  }),
};

type Broken = { answer: () => Response | Promise<Response>; asked: number };
const brokenHosts = new Map<string, Broken>();

/** A host at which every call is answered so. */
function breakHost(how: string): { name: string; broken: Broken } {
  const name = `${brokenHosts.size}.${host}`;
  const broken = { answer: oddAnswers[how] ?? (() => Response.error()), asked: 0 };
  brokenHosts.set(name, broken);
  return { name, broken };
}

beforeAll(() => {
  // Of the reasons only the log is told.
  for (const level of ["warn", "error"] as const)
    vi.spyOn(console, level).mockImplementation(() => {});
  const real = globalThis.fetch;
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    const broken = brokenHosts.get(new URL(url).hostname);
    if (!broken) return await real(input, init);
    broken.asked++;
    return await broken.answer();
  });
});
afterAll(() => {
  vi.restoreAllMocks();
});

const id = () => crypto.randomUUID();
/** Every route that asks a back end, by who may call it. */
const requests: [string, string, string, unknown?][] = [
  ["admin", "POST", "/api/v1/logs", entry()],
  ["admin", "POST", "/api/v1/logs/bulk", { logs: [entry(), entry({ event_id: "e" })] }],
  ["admin", "GET", "/api/v1/logs"],
  ["admin", "GET", "/api/v1/logs?search=x&order=asc"],
  ["admin", "GET", "/api/v1/logs/stats"],
  ["admin", "GET", `/api/v1/logs/${id()}`],
  ["admin", "POST", "/api/v1/logs/export", {}],
  ["admin", "GET", "/api/v1/logs/export"],
  ["admin", "GET", `/api/v1/logs/export/${id()}`],
  ["admin", "DELETE", `/api/v1/logs/export/${id()}`],
  ["admin", "POST", `/api/v1/logs/export/${id()}/retry`],
  ["admin", "GET", "/api/v1/tenants/mine/keys"],
  ["admin", "POST", "/api/v1/tenants/mine/keys", { name: "k", roles: ["writer"] }],
  ["admin", "DELETE", `/api/v1/tenants/mine/keys/${id()}`],
  ["admin", "GET", "/api/v1/tenants/mine"],
  ["platform_admin", "GET", "/api/v1/tenants"],
  ["platform_admin", "POST", "/api/v1/tenants", { id: newTenant() }],
  ["platform_admin", "PATCH", "/api/v1/tenants/mine", { name: "x" }],
  ["platform_admin", "GET", "/api/v1/operations/dead-letters"],
  ["platform_admin", "POST", "/api/v1/operations/dead-letters/redrive", { ids: [id()] }],
  ["platform_admin", "GET", "/api/v1/operations/reindex"],
  ["platform_admin", "POST", "/api/v1/operations/reindex", { month: "2199.01" }],
  ["admin", "GET", "/health"],
];

/** The requests that have to do with a back end. All ask Postgres. */
const asked: Record<string, RegExp> = {
  Postgres: /./,
  OpenSearch: /^GET .*(logs|stats|health|search=x&order=asc)$/,
  SQS: /^POST .*(logs|bulk|export)$|letters|health$/,
  S3: /export|health$/,
};

const secret =
  /hush|internal\.test|127\.0\.0\.1|localhost|audit_api|audit_logs|select |\.ts\b|\bat \w|Error:/i;

function expectNothingOf(answer: Answer, about: string): void {
  const headers = JSON.stringify([...answer.headers]);
  expect(`${headers}\n${answer.text}`, about).not.toMatch(secret);
}

// Most of it is waiting for what is tried again: many go side by side, each with a host of its own.
describe.concurrent.each(Object.entries(backends))("while %s", (backend, variables) => {
  test.each(Object.keys(oddAnswers))("%s, no answer tells of it", async (how) => {
    const { name, broken } = breakHost(how);
    const target = workersWith(variables(name));
    const key = callerOf({ ...target, token: async () => `al_${id()}${id()}`.slice(0, 46) }, {});
    const answers = await Promise.all([
      ...requests
        .filter(([, ...named]) => asked[backend]?.test(named.slice(0, 2).join(" ")))
        .map(async ([role, method, path, body]) => {
          const tenant = path.includes("/mine") ? "mine" : newTenant();
          const caller = callerOf(target, { tenant_id: tenant, role });
          return [`${method} ${path}`, await caller.call(method, path, body)] as const;
        }),
      ["with an API key", await key.get("/api/v1/logs")] as const,
    ]);
    for (const [about, answer] of answers) {
      expectNothingOf(answer, about);
      // Of health a sum of states is the answer; all others are done, or say why not by a code.
      const isOver = answer.status < 400 || about === "GET /health";
      expect(isOver || problem.safeParse(answer.body).success, `${about}: ${answer.text}`).toBe(
        true,
      );
    }
    expect(broken.asked).toBeGreaterThan(0);
  });
});

describe.concurrent("an export that fails", () => {
  test.each(Object.keys(oddAnswers))(
    "since S3 %s, says no more than that to who reads it",
    async (how) => {
      const { url } = await newQueue();
      const target = workersWith({ SQS_EXPORT_QUEUE_URL: url });
      const caller = callerOf(target, { tenant_id: newTenant() });
      await caller.create();
      const { id: exportId } = await start(caller);
      const { name, broken } = breakHost(how);
      const env = { ...workerEnv, ...backends["S3"]?.(name) };
      const s3 = connectS3(requireSection(parseConfig(env), "s3"), { retryMs: 10 });
      let state = await stateOf(caller, exportId);
      for (let tries = 0; tries < 3 && state.status !== "FAILED"; tries++) {
        await work(url, toolsOf(url, { s3 }));
        state = await stateOf(caller, exportId);
      }
      expect(broken.asked).toBeGreaterThan(0);
      const answer = await caller.get(`/api/v1/logs/export/${exportId}`);
      // The file's address is for the reader, and there is none.
      expect(state.file_url).toBeNull();
      expectNothingOf(answer, how);
    },
  );
});

test("what is looked for would be found", async () => {
  for (const one of said) expect(one).toMatch(secret);
  const { text: whole } = await exported(callerOf(workersWith({}), { tenant_id: newTenant() }));
  expect(whole).not.toMatch(secret);
});
