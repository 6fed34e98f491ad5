import { once } from "node:events";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { neon, neonConfig, NeonDbError } from "@neondatabase/serverless";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startNeonEndpoint, type NeonEndpoint } from "./neon-endpoint.ts";
import { freePort } from "./ports.ts";
import { startPostgres, type Postgres } from "./postgres.ts";

let folder: string;
let postgres: Postgres;
let endpoint: NeonEndpoint;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "audit-log-neon-"));
  // As root, Postgres runs as another user, who must get there.
  await chmod(folder, 0o755);
  postgres = await startPostgres({ dataDir: join(folder, "data"), persistent: false, fast: true });
  endpoint = await startNeonEndpoint({ databaseUrl: postgres.url, poolSize: 10 });
  neonConfig.fetchEndpoint = endpoint.url;
  neonConfig.disableWarningInBrowsers = true;
});

afterAll(async () => {
  await endpoint.stop();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  const sql = neon(postgres.url);
  await sql`DROP TABLE IF EXISTS words`;
  await sql`CREATE TABLE words (id int PRIMARY KEY, word text CHECK (word <> 'bad'))`;
});

async function failure(promise: Promise<unknown>): Promise<NeonDbError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof NeonDbError) return error;
  throw new Error(`Expected a NeonDbError, got ${String(error)}`);
}

describe("one query", () => {
  test("every type comes back as Neon's client parses it", async () => {
    const sql = neon(postgres.url);
    const rows = await sql`
      SELECT 1 AS int, 9007199254740993::bigint AS big, 1.10::numeric AS num, true AS yes,
        NULL AS nothing, ${"naïve 🙂"}::text AS text, '{"b":1,"a":9007199254740993}'::json AS json,
        '{"b":1}'::jsonb AS jsonb, ARRAY['x','y'] AS list, '\\x00ff'::bytea AS bytes,
        '2026-01-02T03:04:05.678Z'::timestamptz AS time,
        '0199a000-0000-7000-8000-000000000000'::uuid AS uuid`;
    expect(rows).toEqual([
      {
        int: 1,
        big: "9007199254740993",
        num: "1.10",
        yes: true,
        nothing: null,
        text: "naïve 🙂",
        json: { b: 1, a: 9007199254740992 },
        jsonb: { b: 1 },
        list: ["x", "y"],
        bytes: Buffer.from([0, 255]),
        time: new Date("2026-01-02T03:04:05.678Z"),
        uuid: "0199a000-0000-7000-8000-000000000000",
      },
    ]);
  });

  test("rows come as arrays, with fields, command and count, when asked for", async () => {
    const sql = neon(postgres.url, { arrayMode: true, fullResults: true });
    const result = await sql`INSERT INTO words VALUES (1, 'a'), (2, 'b') RETURNING id, word`;
    expect(result).toMatchObject({ command: "INSERT", rowCount: 2, rowAsArray: true });
    expect(result.rows).toEqual([
      [1, "a"],
      [2, "b"],
    ]);
    expect(result.fields.map(({ name, dataTypeID }) => ({ name, dataTypeID }))).toEqual([
      { name: "id", dataTypeID: 23 },
      { name: "word", dataTypeID: 25 },
    ]);
  });

  test("a caller that does not ask for arrays gets objects of text", async () => {
    const response = await fetch(endpoint.url, {
      method: "POST",
      headers: { "Neon-Connection-String": postgres.url },
      body: JSON.stringify({ query: "SELECT $1::int AS n, NULL AS nothing", params: [7] }),
    });
    expect(await response.json()).toMatchObject({
      rows: [{ n: "7", nothing: null }],
      rowAsArray: false,
    });
  });

  test("an error carries its SQLSTATE and what Postgres says about it", async () => {
    const sql = neon(postgres.url);
    expect(await failure(sql`SELECT * FROM missing`)).toMatchObject({
      code: "42P01",
      severity: "ERROR",
      position: "15",
      message: 'relation "missing" does not exist',
    });
    expect(await failure(sql`INSERT INTO words VALUES (1, 'bad')`)).toMatchObject({
      code: "23514",
      constraint: "words_word_check",
      table: "words",
      schema: "public",
      detail: "Failing row contains (1, bad).",
    });
  });

  test("is one statement, as with Neon", async () => {
    const sql = neon(postgres.url);
    expect(await failure(sql.query("SELECT 1; SELECT 2"))).toMatchObject({ code: "42601" });
  });
});

describe("a batch", () => {
  test("is one transaction with the asked isolation", async () => {
    const sql = neon(postgres.url);
    const [inserted, isolation, sees] = await sql.transaction(
      [
        sql`INSERT INTO words VALUES (1, 'a') RETURNING id`,
        sql`SELECT current_setting('transaction_isolation') AS level`,
        sql`SELECT count(*)::int AS n FROM words`,
      ],
      { isolationLevel: "Serializable" },
    );
    expect(inserted).toEqual([{ id: 1 }]);
    expect(isolation).toEqual([{ level: "serializable" }]);
    expect(sees).toEqual([{ n: 1 }]);
    const readOnly = sql.transaction([sql`INSERT INTO words VALUES (2, 'b')`], { readOnly: true });
    expect(await failure(readOnly)).toMatchObject({ code: "25006" });
    const deferrable = await sql.transaction([sql`SHOW transaction_deferrable`], {
      isolationLevel: "Serializable",
      readOnly: true,
      deferrable: true,
    });
    expect(deferrable).toEqual([[{ transaction_deferrable: "on" }]]);
  });

  test("leaves nothing when one statement fails, and names that one's error", async () => {
    const sql = neon(postgres.url);
    const batch = sql.transaction([
      sql`INSERT INTO words VALUES (1, 'a')`,
      sql`INSERT INTO words VALUES (2, 'bad')`,
      sql`INSERT INTO words VALUES (3, 'c')`,
    ]);
    expect(await failure(batch)).toMatchObject({ code: "23514" });
    expect(await sql`SELECT * FROM words`).toEqual([]);
  });

  test("leaves nothing when the commit itself fails", async () => {
    const sql = neon(postgres.url);
    await sql`ALTER TABLE words ADD CONSTRAINT late UNIQUE (word) DEFERRABLE INITIALLY DEFERRED`;
    const batch = sql.transaction([
      sql`INSERT INTO words VALUES (1, 'same')`,
      sql`INSERT INTO words VALUES (2, 'same')`,
    ]);
    expect(await failure(batch)).toMatchObject({ code: "23505", constraint: "late" });
    expect(await sql`SELECT * FROM words`).toEqual([]);
  });

  test("100 at a time each keep their own settings and rows", async () => {
    const sql = neon(postgres.url);
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) =>
        sql.transaction([
          sql`SELECT set_config('app.tenant_id', ${`t${index}`}, true)`,
          sql`INSERT INTO words VALUES (${index}, current_setting('app.tenant_id')) RETURNING word`,
        ]),
      ),
    );
    expect(answers.map((answer) => answer[1])).toEqual(
      Array.from({ length: 100 }, (_, index) => [{ word: `t${index}` }]),
    );
    const left = await Promise.all(
      Array.from(
        { length: 20 },
        () => sql`SELECT current_setting('app.tenant_id', true) AS tenant`,
      ),
    );
    for (const [row] of left) expect(["", null]).toContain(row?.["tenant"]);
  });
});

describe("a caller that goes away", () => {
  test("ends its transaction, and its locks with it", async () => {
    const sql = neon(postgres.url);
    await sql`INSERT INTO words VALUES (1, 'a')`;
    const leaving = new AbortController();
    const abandoned = sql.transaction(
      [
        sql`UPDATE words SET word = 'changed' WHERE id = 1`,
        sql`SELECT pg_sleep(60)`,
        sql`UPDATE words SET word = 'changed again' WHERE id = 1`,
      ],
      { fetchOptions: { signal: leaving.signal } },
    );
    await expect
      .poll(() => sql`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
      .toHaveLength(1);
    leaving.abort();
    await expect(abandoned).rejects.toThrow("abort");
    await expect
      .poll(() => sql`SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'`)
      .toHaveLength(0);
    expect(await sql`UPDATE words SET word = 'mine' WHERE id = 1 RETURNING word`).toEqual([
      { word: "mine" },
    ]);
    expect(
      await sql`SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'`,
    ).toEqual([]);
  });

  test("before its body is complete costs nothing", async () => {
    const { port } = new URL(endpoint.url);
    const socket = connect(Number(port), "127.0.0.1");
    await once(socket, "connect");
    socket.write("POST /sql HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{");
    socket.destroy();
    expect(await neon(postgres.url)`SELECT 1 AS one`).toEqual([{ one: 1 }]);
  });
});

describe("limits", () => {
  test("a request that is waiting for a connection gives up after a while", async () => {
    const small = await startNeonEndpoint({
      databaseUrl: postgres.url,
      poolSize: 1,
      waitMs: 200,
    });
    const call = (query: string): Promise<Response> =>
      fetch(small.url, {
        method: "POST",
        headers: { "Neon-Connection-String": postgres.url },
        body: JSON.stringify({ query, params: [] }),
      });
    const [slow, waiting] = await Promise.all([call("SELECT pg_sleep(1)"), call("SELECT 1")]);
    expect([slow.status, waiting.status].toSorted()).toEqual([200, 503]);
    await small.stop();
  });

  test("a database that is not there is 503, not an SQL error", async () => {
    const nowhere = `postgresql://postgres:local@127.0.0.1:${await freePort()}/audit`;
    const alone = await startNeonEndpoint({ databaseUrl: nowhere });
    neonConfig.fetchEndpoint = alone.url;
    const error = await failure(neon(nowhere)`SELECT 1`);
    neonConfig.fetchEndpoint = endpoint.url;
    expect(error.message).toContain("HTTP status 503");
    expect(error.code).toBeUndefined();
    await alone.stop();
  });

  test("another server's connection string, a wrong password and no such database are refused", async () => {
    const elsewhere = new URL(postgres.url);
    elsewhere.hostname = "db.example.com";
    expect((await failure(neon(elsewhere.href)`SELECT 1`)).message).toContain(
      "This endpoint serves the database at 127.0.0.1",
    );
    const wrong = new URL(postgres.url);
    wrong.password = "wrong";
    expect(await failure(neon(wrong.href)`SELECT 1`)).toMatchObject({ code: "28P01" });
    const missing = new URL(postgres.url);
    missing.pathname = "/missing";
    expect(await failure(neon(missing.href)`SELECT 1`)).toMatchObject({ code: "3D000" });
  });

  test.each([
    ["no connection string", {}, "{}", 400],
    ["no JSON", { "Neon-Connection-String": "x" }, "{", 400],
    ["no query", { "Neon-Connection-String": "x" }, '{"query":1}', 400],
    ["no list of queries", { "Neon-Connection-String": "x" }, '{"queries":1}', 400],
    ["no URL", { "Neon-Connection-String": "x" }, '{"query":"SELECT 1"}', 400],
    [
      "an unknown isolation level",
      { "Neon-Connection-String": "x", "Neon-Batch-Isolation-Level": "Chaos; DROP" },
      '{"queries":[]}',
      400,
    ],
  ])("%s is refused", async (_, headers, body, status) => {
    const response = await fetch(endpoint.url, { method: "POST", headers, body });
    expect(response.status).toBe(status);
    expect(await response.json()).toEqual({ message: expect.any(String) });
  });

  test("a body above 64 MiB is 413", async () => {
    const response = await fetch(endpoint.url, {
      method: "POST",
      headers: { "Neon-Connection-String": postgres.url },
      body: Buffer.alloc(64 * 1024 * 1024 + 1, " "),
    });
    expect(response.status).toBe(413);
  });

  test("GET / says that it is there, and other paths are not", async () => {
    const health = await fetch(new URL("/", endpoint.url));
    expect(await health.json()).toEqual({ status: "ok" });
    expect((await fetch(endpoint.url)).status).toBe(404);
  });
});
