import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "pg";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { startAws, type AwsStandIn } from "./aws.ts";
import { startOpenSearch } from "./opensearch.ts";
import { freePort } from "./ports.ts";
import { startPostgres, type Postgres } from "./postgres.ts";
import { startBackends } from "./stack.ts";

vi.mock("./opensearch.ts", { spy: true });

let folder: string;
let postgres: Postgres;
let aws: AwsStandIn;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-stack-"));
  // As root, Postgres runs as another user, who must get there.
  await chmod(folder, 0o755);
  [postgres, aws] = await Promise.all([
    startPostgres({ dataDir: join(folder, "elsewhere"), persistent: false, fast: true }),
    startAws(),
  ]);
});

beforeEach(() => {
  vi.mocked(startOpenSearch).mockReset();
});

afterAll(async () => {
  await Promise.all([postgres.stop(), aws.stop()]);
  await rm(folder, { recursive: true, force: true });
});

function options(environment: NodeJS.ProcessEnv) {
  const progress: string[] = [];
  return {
    dataDir: join(folder, "data"),
    persistent: false,
    fast: true,
    environment,
    onProgress: (text: string) => progress.push(text),
    progress,
  };
}

test("what the environment names is used, its schema brought up to date, and what is missing made", async () => {
  const given = {
    DATABASE_URL: postgres.url,
    DATABASE_READ_URL: "postgres://me:secret@replica.example/audit",
    SQS_ENDPOINT: aws.url,
    AWS_ENDPOINT_URL: aws.url,
    AWS_REGION: "eu-central-1",
    AWS_ACCESS_KEY_ID: "own",
    AWS_SECRET_ACCESS_KEY: "own secret",
    SQS_LOG_QUEUE_URL: `${aws.url}/000000000000/own-logs`,
    EXPORT_S3_BUCKET: "own-bucket",
    OPENSEARCH_HOST: "http://search.example:9200",
    OPENSEARCH_USER: "me",
    LOG_LEVEL: "DEBUG",
    JWT_SECRET: "a secret of one's own that is long enough",
    DEBUG: "express:*",
    HOME: "/home/me",
  };
  const stack = await startBackends(options(given));
  const { DEBUG: _, HOME: __, ...expected } = given;
  expect(stack.env).toMatchObject(expected);
  expect(stack.env).not.toHaveProperty("DEBUG");
  expect(stack.env).not.toHaveProperty("HOME");
  expect(stack.env["SQS_EXPORT_QUEUE_URL"]).toBe(`${aws.url}/000000000000/exports`);
  expect(stack.env["NEON_FETCH_ENDPOINT"]).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/sql$/);
  expect(stack.searchNote).toBeUndefined();
  expect(startOpenSearch).not.toHaveBeenCalled();

  const queues: unknown = await (await fetch(`${aws.url}/_fauxqs/queues`)).json();
  expect(queues).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ arn: "arn:aws:sqs:eu-central-1:000000000000:own-logs" }),
      expect.objectContaining({ arn: "arn:aws:sqs:eu-central-1:000000000000:own-logs-dlq" }),
    ]),
  );
  const client = new Client({ connectionString: postgres.url });
  await client.connect();
  const tables = await client.query("SELECT 1 FROM pg_tables WHERE tablename = 'tenants'");
  await client.end();
  expect(tables.rowCount).toBe(1);
  await stack.stop();
});

test("an endpoint that is given goes before one of this stack, and Neon's own hosts need none", async () => {
  const endpoint = "http://127.0.0.1:9/sql";
  vi.mocked(startOpenSearch).mockResolvedValue({ missing: "Install a JDK." });
  const stack = await startBackends(
    options({ DATABASE_URL: postgres.url, NEON_FETCH_ENDPOINT: endpoint }),
  );
  expect(stack.env["NEON_FETCH_ENDPOINT"]).toBe(endpoint);
  await stack.stop();
});

test("a replica is one of a database that is given, and never of the stack's own", async () => {
  vi.mocked(startOpenSearch).mockResolvedValue({ missing: "Install a JDK." });
  const stack = await startBackends(
    options({
      DATABASE_READ_URL: "postgres://me:secret@replica.example/audit",
      SQS_ENDPOINT: aws.url,
      AWS_ENDPOINT_URL: aws.url,
    }),
  );
  expect(stack.env["DATABASE_URL"]).toContain("127.0.0.1");
  expect(stack.env["DATABASE_READ_URL"]).toBe("");
  await stack.stop();
});

test.each([
  ["is missing", () => Promise.resolve({ missing: "Install a JDK." }), "Install a JDK."],
  ["does not start", () => Promise.reject(new Error("No memory.")), "No memory."],
])("without OpenSearch, because it %s, the rest runs and says why", async (_, answer, note) => {
  vi.mocked(startOpenSearch).mockImplementation(answer);
  const stack = await startBackends(options({ DATABASE_URL: postgres.url }));
  expect(stack.searchNote).toBe(note);
  expect(stack.env).not.toHaveProperty("OPENSEARCH_HOST");
  await stack.stop();
});

test("a database that cannot be reached stops what has started, and is named", async () => {
  const stop = vi.fn<() => Promise<void>>(() => Promise.resolve());
  vi.mocked(startOpenSearch).mockResolvedValue({
    url: "http://127.0.0.1:9",
    version: "3",
    exited: new Promise(() => {}),
    tail: () => "",
    stop,
  });
  const url = `postgresql://postgres:local@127.0.0.1:${await freePort()}/audit`;
  await expect(startBackends(options({ DATABASE_URL: url }))).rejects.toThrow(
    /The database could not be brought up to date: [^]*ECONNREFUSED/,
  );
  expect(stop).toHaveBeenCalledOnce();
});

test("queues and buckets that may not be made are a warning where their names were given", async () => {
  vi.mocked(startOpenSearch).mockResolvedValue({ missing: "Install a JDK." });
  // S3 only: it refuses every call of SQS.
  const refusing = `${aws.url}/no-such-path`;
  const given = options({
    DATABASE_URL: postgres.url,
    SQS_ENDPOINT: refusing,
    SQS_LOG_QUEUE_URL: `${refusing}/1/logs`,
    SQS_EXPORT_QUEUE_URL: `${refusing}/1/exports`,
    AWS_ENDPOINT_URL: aws.url,
    EXPORT_S3_BUCKET: "NO-BUCKET-NAME",
  });
  const stack = await startBackends(given);
  expect(stack.env["SQS_LOG_QUEUE_URL"]).toBe(`${refusing}/1/logs`);
  expect(given.progress.filter((text) => text.startsWith("warning: "))).toHaveLength(3);
  await stack.stop();
});
