import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { devCommand } from "./dev.ts";
import { readStack } from "./dev-state.ts";
import { freePort } from "./ports.ts";

const repository = fileURLToPath(new URL("..", import.meta.url));
const API = `export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (pathname === "/die") throw new Error("asked to");
    const poller = env.POLLER.get(env.POLLER.idFromName("a"));
    const fired = await (await poller.fetch("http://poller/")).json();
    return Response.json({ database: env.DATABASE_URL, log: env.LOG_LEVEL, fired });
  },
};`;
const CONSUMER = `import { DurableObject } from "cloudflare:workers";
export class Poller extends DurableObject {
  async fetch(request) {
    const fired = (await this.ctx.storage.get("fired")) ?? [];
    if (request.method === "POST") await this.ctx.storage.put("fired", [...fired, await request.text()]);
    return Response.json(fired);
  }
}
export default {
  async scheduled(event, env) {
    console.log(JSON.stringify({ level: "ERROR", event: "scheduled " + event.cron }));
    const poller = env.POLLER.get(env.POLLER.idFromName("a"));
    await poller.fetch("http://poller/", { method: "POST", body: env.DATABASE_URL });
  },
};`;
const SETTINGS = `main = "index.js"
compatibility_date = "2026-10-01"
durable_objects.bindings = [{ name = "POLLER", class_name = "Poller"`;

let folder: string;
let printed: string[];

/** A repository with an API and a consumer of its own, and the migrations of this one. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-dev-"));
  // As root, Postgres runs as another user, who must get there.
  await chmod(folder, 0o755);
  await mkdir(join(folder, "consumers", "poller"), { recursive: true });
  await symlink(join(repository, "node_modules"), join(folder, "node_modules"));
  await writeFile(join(folder, "index.js"), API);
  await writeFile(join(folder, "consumers", "poller", "index.js"), CONSUMER);
  await writeFile(
    join(folder, "wrangler.toml"),
    `name = "test-api"\n${SETTINGS}, script_name = "test-poller" }]\n`,
  );
  await writeFile(
    join(folder, "consumers", "poller", "wrangler.toml"),
    `name = "test-poller"\n${SETTINGS} }]
migrations = [{ tag = "v1", new_sqlite_classes = ["Poller"] }]
[triggers]
crons = ["* * * * *"]\n`,
  );
  await cp(join(repository, "db"), join(folder, "db"), { recursive: true });
});

afterAll(() => rm(folder, { recursive: true, force: true }));

beforeEach(() => {
  printed = [];
  for (const method of ["log", "error"] as const) {
    vi.spyOn(console, method).mockImplementation((text: unknown) => {
      printed.push(String(text));
    });
  }
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
});

function run(args: string[], stop: Promise<void>): Promise<number> {
  return devCommand(args, stop, { root: folder, stateDir: join(folder, ".local") });
}

test("the stack gets ready, gives all Workers their settings, fires their crons, and ends", async () => {
  const port = await freePort();
  const stop = Promise.withResolvers<void>();
  const ended = run(["--port", String(port)], stop.promise);
  await expect.poll(() => printed.join("\n"), { timeout: 100_000 }).toContain("Ready in");

  const output = printed.join("\n");
  expect(output).toContain(`API    http://127.0.0.1:${port}/api/v1`);
  expect(output).toMatch(/export TOKEN=[\w-]+\.[\w-]+\.[\w-]+/);
  const { url, env } = JSON.parse(await readFile(join(folder, ".local", "stack.json"), "utf8"));
  expect(url).toBe(`http://127.0.0.1:${port}`);
  expect(env).toMatchObject({
    DATABASE_URL: expect.stringMatching(/^postgresql:\/\/[^@]+@127\.0\.0\.1:\d+\/audit$/),
    NEON_FETCH_ENDPOINT: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/sql$/),
    SQS_LOG_QUEUE_URL: expect.stringMatching(/\/logs$/),
    SQS_EXPORT_QUEUE_URL: expect.stringMatching(/\/exports$/),
    EXPORT_S3_BUCKET: "logs-export",
  });

  await expect
    .poll(async () => (await fetch(url)).json(), { timeout: 10_000 })
    .toEqual({ database: env.DATABASE_URL, log: "INFO", fired: [env.DATABASE_URL] });
  // A Worker's error belongs in the terminal.
  await expect.poll(() => printed.join("\n")).toContain('"event":"scheduled * * * * *"');

  stop.resolve();
  expect(await ended).toBe(0);
  expect(readStack(join(folder, ".local"))).toBeUndefined();
  await expect(fetch(url)).rejects.toThrow("fetch failed");
}, 120_000);

test("a part that ends by itself ends the stack, named, with its last lines", async () => {
  vi.stubEnv("OPENSEARCH_HOST", "http://127.0.0.1:9");
  const ended = run(["--port", String(await freePort())], new Promise(() => {}));
  await expect.poll(() => printed.join("\n"), { timeout: 100_000 }).toContain("Ready in");
  const mark = await readFile(join(folder, ".local", "postgres", "postmaster.pid"), "utf8");
  process.kill(Number.parseInt(mark, 10), "SIGINT");
  expect(await ended).toBe(1);
  expect(printed.at(-1)).toMatch(/PostgreSQL ended by itself[^]*received fast shutdown request/);
}, 120_000);

test("it can be stopped while it starts", async () => {
  const stop = Promise.withResolvers<void>();
  const ended = run(["--port", String(await freePort())], stop.promise);
  setTimeout(stop.resolve, 300);
  expect(await ended).toBe(0);
}, 60_000);

test("a .dev.vars that would hide the stack's settings is refused", async () => {
  const file = join(folder, "consumers", "poller", ".dev.vars");
  await writeFile(file, "DATABASE_URL=elsewhere");
  vi.stubEnv("OPENSEARCH_HOST", "http://127.0.0.1:9");
  expect(await run(["--port", String(await freePort())], new Promise(() => {}))).toBe(1);
  expect(printed.at(-1)).toContain(`Move away consumers/poller/.dev.vars`);
  await rm(file);
}, 60_000);

test.each([
  [["--prot", "1"], 2, "Unknown option '--prot'"],
  [["--port", "x"], 2, "--port is a number"],
  [["--help"], 0, "npm run dev --"],
])("%j ends with %i", async (args, code, text) => {
  expect(await run(args, Promise.resolve())).toBe(code);
  expect(printed.join("\n")).toContain(text);
});
