import { createScheduledController, env } from "cloudflare:test";
import { sql } from "drizzle-orm";
import { describe, expect, test, vi } from "vitest";
import maintenance from "../../consumers/maintenance/index.ts";
import { callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { exported, exportAnswer, finished, start } from "./export-calls.ts";
import { rowsOf } from "./database.ts";
import { textOf } from "./export-steps.ts";
import { newQueue } from "./queues.ts";
import { workers, workersWith } from "./tools.ts";

describe("an export", () => {
  test("of no logs is a header", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const { text, manifest } = await exported(caller);
    expect(text).toMatch(/^id,tenant_id,.*\r\n$/);
    expect(manifest.rows).toBe(0);
  });

  test.each([
    ["csv", "gzip", /^id,tenant_id,.*\r\n$/],
    ["jsonl", "gzip", /^$/],
    ["jsonl", "none", /^$/],
  ])("of no logs as %s, compressed %s, is a whole file", async (format, compression, expected) => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const { done, manifest } = await exported(caller, { format, compression });
    expect(await textOf(done.file_url, compression)).toMatch(expected);
    const { bytes } = manifest;
    expect(manifest).toMatchObject({ rows: 0, first_id: null, last_id: null });
    expect(done).toMatchObject({ rows_total: 0, bytes, parts: manifest.parts.length });
    expect(bytes === 0).toBe(compression === "none");
  });

  test("gives links for 15 minutes, and says until when", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const { done } = await exported(caller);
    for (const link of [done.file_url, done.manifest_url]) {
      const { searchParams: asked } = new URL(String(link));
      expect(asked.get("X-Amz-Expires")).toBe("900");
      const signed = asked.get("X-Amz-Date") ?? "";
      const at = signed.replace(/(....)(..)(..T..)(..)(..Z)/, "$1-$2-$3:$4:$5");
      const until = Date.parse(String(done["expires_at"]));
      expect(until - Date.parse(at)).toBeLessThanOrEqual(900_000);
      expect(until - Date.parse(at)).toBeGreaterThan(898_000);
    }
  });

  test("has every log in order", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const ids = await caller.createAll(
      Array.from({ length: 100 }, (_, n) => ({ description: `${n}` })),
    );
    const { text, manifest, done } = await exported(caller, { columns: ["id", "description"] });
    expect(text).toBe(`id,description\r\n${ids.map((id, n) => `${id},${n}\r\n`).join("")}`);
    expect(manifest.rows).toBe(100);
    expect(done.rows_exported).toBe(100);
  });

  test("has the filters of the list, and the fields that were asked for", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    await caller.createAll([
      { resource_id: "0", user_id: "u_1", email: "nora@example.com", metadata: { plan: "pro" } },
      { resource_id: "1", user_id: "u_2", action: "document.deleted", ip_address: "203.0.113.7" },
      { resource_id: "2", user_id: "u_2", severity: "ERROR", description: "too many attempts" },
    ]);
    await caller.settled();
    const found = async (filters: object) => {
      const { text } = await exported(caller, { columns: ["resource_id"], filters });
      return text.split("\r\n").slice(1, -1).join("");
    };
    expect(await found({ user_id: "u_2" })).toBe("12");
    expect(await found({ user_id: ["u_1", "u_2"], severity: "error" })).toBe("2");
    expect(await found({ action: "document.d*" })).toBe("1");
    expect(await found({ email: "Nora@example.com" })).toBe("0");
    expect(await found({ ip_address: "203.0.113.0/24" })).toBe("1");
    expect(await found({ "metadata.plan": "pro" })).toBe("0");
    expect(await found({ from: "2020-01-01T00:00:00Z", to: "2021-01-01T00:00:00Z" })).toBe("");
    expect(await found({ search: '"many attempts"' })).toBe("2");
  });

  test("as JSON Lines has the logs as the API gives them", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const body = JSON.stringify({ logs: [entry({ metadata: { n: "@n", "10": 1 } }), entry()] });
    await caller.post("/api/v1/logs/bulk", body.replace('"@n"', "9007199254740993"));
    const { text, manifest, file } = await exported(caller, { format: "jsonl" });
    const lines = text.split("\n");
    expect(lines).toHaveLength(3);
    expect(lines[0]).toContain('"n":9007199254740993');
    const one = await caller.get(`/api/v1/logs/${JSON.parse(lines[0] ?? "").id}`);
    expect(`{"data":${lines[0]}}`).toBe(one.text);
    expect(manifest.rows).toBe(2);
    expect(file.headers.get("Content-Type")).toContain("application/x-ndjson");
  });

  test("as gzip is the same text", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    await caller.createAll(Array.from({ length: 20 }, (_, n) => ({ description: `${n}` })));
    const wanted = { columns: ["id", "description"], filters: { resource_type: "document" } };
    const plain = await exported(caller, wanted);
    const { done, manifest } = await exported(caller, {
      ...wanted,
      compression: "gzip",
    });
    const { body } = await fetch(String(done.file_url));
    const text = await new Response(body?.pipeThrough(new DecompressionStream("gzip"))).text();
    expect(text).toBe(plain.text);
    expect(manifest).toMatchObject({ compression: "gzip", rows: 20 });
  });

  test("makes hostile values harmless, and keeps them in one cell", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    await caller.create({
      description: '=cmd|"/c calc"!A1',
      user_id: "a\r\nb,c",
      resource_name: "\u0000",
    });
    const { text } = await exported(caller, {
      columns: ["description", "user_id", "resource_name"],
    });
    expect(text).toBe(
      'description,user_id,resource_name\r\n"\'=cmd|""/c calc""!A1","a\r\nb,c",\ufffd\r\n',
    );
  });

  test("gives back what is large or no text at all, as the API does", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const large = "x".repeat(200 * 1024);
    const metadata = {
      large,
      quotes: 'a"b',
      lines: "a\nb",
      nul: "\u0000",
      lone: "\ud800",
      "=k": "-1",
    };
    const id = await caller.create({ description: "lone \ud800 and \udc00", metadata });
    const { text } = await exported(caller, { columns: ["description", "metadata"] });
    const stored = JSON.stringify({ ...metadata, nul: "\ufffd", lone: "\ufffd" });
    expect(text).toBe(
      `description,metadata\r\nlone \ufffd and \ufffd,"${stored.replaceAll('"', '""')}"\r\n`,
    );
    const lines = await exported(caller, {
      format: "jsonl",
      filters: { resource_type: "document" },
    });
    expect(`{"data":${lines.text.trimEnd()}}`).toBe((await caller.get(`/api/v1/logs/${id}`)).text);
  });

  test("has also values that look like what Postgres puts between them", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const hostile = { description: "\u007F\u007F", resource_name: "^@", user_id: "a\u007Fb" };
    await caller.create(hostile);
    await caller.create({ description: "plain" });
    const columns = ["description", "resource_name", "user_id"];
    const filters = { resource_type: "document" };
    const csv = await exported(caller, { columns, filters });
    expect(csv.text.split("\r\n").slice(1, 2)).toEqual(['"\u007F\u007F",^@,"a\u007Fb"']);
    const { text } = await exported(caller, { columns, filters, format: "jsonl" });
    expect(JSON.parse(text.split("\n")[0] ?? "")).toEqual(hostile);
  });

  test("never has a log of another tenant, nor one that was stored after it was asked for", async () => {
    const mine = callerOf(workers, { tenant_id: newTenant() });
    await callerOf(workers, { tenant_id: newTenant() }).create();
    const id = await mine.create();
    const { id: pipeline } = await start(mine, { columns: ["id"] });
    await mine.create();
    const done = await finished(mine, pipeline);
    expect(await (await fetch(String(done.file_url))).text()).toBe(`id\r\n${id}\r\n`);
  });

  test("is told to its tenant only", async () => {
    const mine = callerOf(workers, { tenant_id: newTenant() });
    const other = callerOf(workers, { tenant_id: newTenant() });
    const { id } = await start(mine);
    const path = `/api/v1/logs/export/${id}`;
    expectProblem(await other.get(path), 404, "not_found");
    expectProblem(await other.call("DELETE", path), 404, "not_found");
    expectProblem(await other.call("POST", `${path}/retry`), 404, "not_found");
    expect((await other.get("/api/v1/logs/export")).body).toMatchObject({ items: [] });
    await finished(mine, id);
  });

  test("is listed with the others, newest first, page by page", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const ids: string[] = [];
    for (let n = 0; n < 3; n++) ids.unshift((await start(caller)).id);
    const seen: unknown[] = [];
    let cursor: unknown = "";
    while (typeof cursor === "string") {
      const more = cursor === "" ? "" : `&cursor=${cursor}`;
      const { body } = await caller.get(`/api/v1/logs/export?page_size=2${more}`);
      const page = body as { items: { id: string }[]; next_cursor: string | null };
      seen.push(...page.items.map((item) => item.id));
      cursor = page.next_cursor;
    }
    expect(seen).toEqual(ids);
    expectProblem(await caller.get("/api/v1/logs/export?cursor=x"), 422, "validation_failed");
  });
});

describe("a request for an export", () => {
  const caller = callerOf(workers, { tenant_id: newTenant() });

  test.each([
    [{ columns: ["id", "colour"] }, "/columns/1"],
    [{ columns: [] }, "/columns"],
    [{ filters: { serverity: "INFO" } }, "/filters/serverity"],
    [{ filters: { from: "yesterday" } }, "/filters/from"],
    [{ filters: { page: "1" } }, "/filters/page"],
    [{ format: "xml" }, "/format"],
    [{ compression: "zip" }, "/compression"],
    [{ tenant_id: "other" }, "/tenant_id"],
  ])("of %j is refused", async (body, path) => {
    const answer = await caller.post("/api/v1/logs/export", body);
    expect(expectProblem(answer, 422, "validation_failed")).toEqual([path]);
  });

  test("that is repeated with its key starts no second export, however many come at once", async () => {
    const tenant = callerOf(workers, { tenant_id: newTenant() });
    const headers = { "Idempotency-Key": "once" };
    const ask = (body: object) => tenant.call("POST", "/api/v1/logs/export", body, headers);
    const answers = await Promise.all(Array.from({ length: 8 }, () => ask({ columns: ["id"] })));
    const ids = new Set(answers.map((one) => exportAnswer.parse(one.body).data.id));
    expect(answers.map((one) => one.status)).toEqual(answers.map(() => 202));
    expect(ids.size).toBe(1);
    const replays = answers.filter((one) => one.headers.get("Idempotency-Replayed") === "true");
    expect(replays).toHaveLength(7);
    expectProblem(await ask({ columns: ["action"] }), 422, "idempotency_key_reused");
    const { body } = await tenant.get("/api/v1/logs/export");
    expect((body as { items: unknown[] }).items).toHaveLength(1);
  });
});

describe("an export that has not begun", () => {
  test("can be cancelled, and is then neither retried nor cancelled into another state", async () => {
    const { url } = await newQueue();
    const caller = callerOf(workersWith({ SQS_EXPORT_QUEUE_URL: url }), { tenant_id: newTenant() });
    const { id } = await start(caller);
    const path = `/api/v1/logs/export/${id}`;
    expect((await caller.get(path)).body).toMatchObject({
      data: { status: "PENDING", file_url: null },
    });
    expect((await caller.call("DELETE", path)).body).toMatchObject({
      data: { status: "CANCELLED" },
    });
    expect((await caller.call("DELETE", path)).body).toMatchObject({
      data: { status: "CANCELLED" },
    });
    expectProblem(await caller.call("POST", `${path}/retry`), 409, "conflict");
  });

  test("is retried once for its key, and a retry that was refused leaves the key free", async () => {
    const { url } = await newQueue();
    const caller = callerOf(workersWith({ SQS_EXPORT_QUEUE_URL: url }), { tenant_id: newTenant() });
    const { id } = await start(caller);
    const retry = (key: string) =>
      caller.call("POST", `/api/v1/logs/export/${id}/retry`, undefined, { "Idempotency-Key": key });
    expectProblem(await retry("k"), 409, "conflict");
    await rowsOf(
      sql`update export_pipelines set status = 'FAILED', finished_at = now() where id = ${id}`,
    );
    const answers = await Promise.all([retry("k"), retry("k"), retry("k"), retry("other")]);
    const replays = answers.filter((one) => one.headers.get("Idempotency-Replayed") === "true");
    const won = answers.filter(({ status }) => status === 202);
    // Whichever key came first, the other finds nothing to retry.
    expect([3, 1]).toContain(won.length);
    expect(replays).toHaveLength(won.length - 1);
    for (const one of answers.filter(({ status }) => status !== 202))
      expectProblem(one, 409, "conflict");
    for (const one of won) expect(one.headers.get("Location")).toBe(`/api/v1/logs/export/${id}`);
  });

  test("is found by the sweep where its message was never sent", async () => {
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const lost = workersWith({ SQS_ENDPOINT: "http://127.0.0.1:9" });
    const tenant = newTenant();
    const { id } = await start(callerOf(lost, { tenant_id: tenant }));
    vi.restoreAllMocks();
    await makeDue(id);
    await runMaintenance();
    const caller = callerOf(workers, { tenant_id: tenant });
    expect(await finished(caller, id)).toMatchObject({ status: "DONE" });
    expectProblem(await caller.call("DELETE", `/api/v1/logs/export/${id}`), 409, "conflict");
  });
});

async function makeDue(id: string): Promise<void> {
  await rowsOf(
    sql`update export_pipelines set due_at = now() - interval '1 hour' where id = ${id}`,
  );
}

async function runMaintenance(): Promise<void> {
  await maintenance.scheduled(createScheduledController(), env as never);
}
