import { createHash } from "node:crypto";
import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { inTenant, sqlState } from "../../db/client.ts";
import { maskHash } from "../../events/mask-hash.ts";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { callerOf, entry, expectProblem, newTenant } from "../journeys/api.ts";
import { ownerOf, rowsOf } from "./database.ts";
import { exported } from "./export-calls.ts";
import { drain, newQueue } from "./queues.ts";
import { nowhere, searchMissing, workerEnv, workers, workersWith } from "./tools.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const platform = callerOf(workers, { role: "platform_admin", tenant_id: undefined, sub: "root" });
const pathOf = (tenant: string) => `/api/v1/tenants/${tenant}`;

/** A tenant with its rules, and its admin. */
async function newCaller(masking?: object, target = workers) {
  const tenant = newTenant();
  const made = await platform.post("/api/v1/tenants", { id: tenant, masking });
  expect(made.status, made.text).toBe(201);
  const caller = callerOf(target, { tenant_id: tenant });
  const setMasking = async (masking: object | null) => {
    const answer = await caller.call("PATCH", pathOf(tenant), { masking });
    expect(answer.status, answer.text).toBe(200);
    expect(answer.body).toMatchObject({ data: { masking } });
  };
  const logOf = async (id: string) =>
    z
      .object({ data: z.record(z.string(), z.unknown()) })
      .parse((await caller.get(`/api/v1/logs/${id}`)).body).data;
  const hash = (text: string) => maskHash(text, tenant, workerEnv["HASH_SECRET"] ?? "");
  const userOf = (sub: string) => callerOf(target, { tenant_id: tenant, sub, role: "user" });
  return { tenant, caller, setMasking, logOf, hash, userOf };
}

const hashed = {
  keys: [{ key: "nickname", how: "hash" }],
  fields: {
    user_id: "hash",
    session_id: "hash",
    request_id: "hash",
    resource_id: "hash",
    ip_address: "hash",
    target_id: "hash",
  },
};

describe("a rule of masking", () => {
  test("holds for the next write after the answer, in an isolate that knew the rules before", async () => {
    const { caller, setMasking, logOf, hash } = await newCaller();
    const made = async (path: string, body: object) => {
      const answer = await caller.post(path, body);
      expect(answer.status, answer.text).toBe(201);
      const { data } = z
        .object({
          data: z.object({ id: z.string().optional(), log_ids: z.array(z.string()).optional() }),
        })
        .parse(answer.body);
      return (await logOf(data.id ?? data.log_ids?.at(-1) ?? ""))["user_id"];
    };
    const sent = entry({ user_id: "alice" });
    for (let n = 0; n < 3; n++) {
      expect(await made("/api/v1/logs", sent)).toBe("alice");
      await setMasking({ fields: { user_id: "hash" } });
      expect(await made("/api/v1/logs", sent)).toBe(hash("alice"));
      await setMasking(null);
      expect(await made("/api/v1/logs/bulk", { logs: [sent, sent] })).toBe("alice");
      await setMasking({ fields: { user_id: "hash" } });
      expect(await made("/api/v1/logs/bulk", { logs: [sent, sent] })).toBe(hash("alice"));
      await setMasking(null);
    }
  });

  test("holds for all that is sent after the answer, while many write", async () => {
    const { tenant, caller, setMasking } = await newCaller();
    const now = { rules: 0, isOver: false };
    const sentUnder = new Map([["first", 0]]);
    await platform.call("PATCH", pathOf(tenant), { rate_tier: "unlimited" });
    // The answer to it tells the isolate that the tenant has no limits.
    await caller.create({ request_id: "first", session_id: "s" });
    const made = new Map<number, number>();
    const write = async (writer: number) => {
      for (let n = 0; !now.isOver; n++) {
        const name = `${writer}-${n}`;
        sentUnder.set(name, now.rules);
        const log = { request_id: name, session_id: "s" };
        await (writer < 3 ? caller.createAll([log]) : caller.create(log));
        made.set(writer, n);
      }
    };
    const writers = Array.from({ length: 8 }, (_, writer) => write(writer));
    const allHaveMade = async (more: number) => {
      const least = writers.map((_, writer) => (made.get(writer) ?? -1) + more);
      await vi.waitFor(
        () => least.forEach((n, writer) => expect(made.get(writer)).toBeGreaterThanOrEqual(n)),
        20_000,
      );
    };
    for (let n = 1; n <= 6; n++) {
      await setMasking({ fields: { session_id: n % 2 === 1 ? "full" : "hash" } });
      now.rules = n;
      await allHaveMade(2);
    }
    now.isOver = true;
    await Promise.all(writers);
    const rows = await rowsOf(
      sql`
        select request_id, session_id from audit_logs
        where tenant_id = ${tenant} and not starts_with(action, 'audit_log.')`,
    );
    expect(rows).toHaveLength(sentUnder.size);
    const last = rows.filter((row) => sentUnder.get(String(row["request_id"])) === 6);
    expect(last.length).toBeGreaterThan(0);
    for (const row of last) expect(row["session_id"]).toMatch(/^hash:/);
    for (const row of rows.filter((one) => (sentUnder.get(String(one["request_id"])) ?? 0) > 0))
      expect(row["session_id"]).not.toBe("s");
  });

  test("masks a field as it says, and names it", async () => {
    const { caller, logOf, hash } = await newCaller({
      keys: [{ key: "nickname", how: "partial" }],
      patterns: [{ name: "email", how: "hash" }],
      fields: {
        session_id: "full",
        user_agent: "partial",
        actor_name: "hash",
        resource_name: "partial",
        target_name: "full",
        target_id: "hash",
      },
    });
    const id = await caller.create({
      user_id: "u_1",
      session_id: "s_1",
      user_agent: "Mozilla/5.0 (X11)",
      actor_name: "Nora Quist",
      resource_name: null,
      description: "wrote to nora@example.com",
      targets: [
        { type: "t", id: "1", name: "One" },
        { type: "t", id: "2" },
      ],
      metadata: { nickname: 123456789012, at: ["nora@example.com"] },
    });
    expect(await logOf(id)).toMatchObject({
      user_id: "u_1",
      session_id: "***",
      user_agent: "***X11)",
      actor_name: hash("Nora Quist"),
      resource_name: null,
      description: `wrote to ${hash("nora@example.com")}`,
      targets: [
        { type: "t", id: hash("1"), name: "***" },
        { type: "t", id: hash("2") },
      ],
      metadata: { nickname: "***012", at: [hash("nora@example.com")] },
      recorded_by: "alice",
    });
    const { masked_fields: masked } = await logOf(id);
    expect(z.array(z.string()).parse(masked).toSorted()).toEqual(
      [
        "/actor_name",
        "/description",
        "/metadata/at/0",
        "/metadata/nickname",
        "/session_id",
        "/targets/0/id",
        "/targets/0/name",
        "/targets/1/id",
        "/user_agent",
      ].toSorted(),
    );
  });

  test("may keep the address readable, which its filter finds all the same", async () => {
    const { caller, setMasking, logOf } = await newCaller();
    const before = await caller.create({ email: "nora@example.com" });
    await setMasking({ email: "clear" });
    const after = await caller.create({ email: "Nora@example.com" });
    expect(await logOf(before)).toMatchObject({ email: "n***@example.com" });
    const { email, masked_fields } = await logOf(after);
    expect([email, masked_fields]).toEqual(["Nora@example.com", undefined]);
    await caller.settled();
    const { items } = await caller.list({ email: "nora@example.com", order: "asc" });
    expect(items.map((item) => item.id)).toEqual([before, after]);
  });

  test("has other hashes in another tenant", async () => {
    const both = await Promise.all([newCaller(hashed), newCaller(hashed)]);
    const ids = await Promise.all(
      both.map(
        async ({ caller, logOf }) =>
          (await logOf(await caller.create({ user_id: "alice" })))["user_id"],
      ),
    );
    expect(new Set(ids)).toHaveLength(2);
  });

  test("makes one event no two, when it came before the rule", async () => {
    const { caller, setMasking } = await newCaller();
    const event = { user_id: "alice", event_id: "e_1" };
    const first = await caller.create(event);
    await setMasking(hashed);
    expect(await caller.create(event)).toBe(first);
  });
});

describe("what a tenant has masked", () => {
  const secret = {
    user_id: "hush-user",
    session_id: "hush-session",
    request_id: "hush-request",
    ip_address: "hush-address",
    user_agent: "hush-agent, which is long",
    actor_name: "hush-actor",
    resource_id: "hush-resource",
    resource_name: "hush-name",
    description: "hush-description",
    targets: [{ type: "t", id: "hush-target", name: "hush-target-name" }],
    metadata: { nickname: "hush-nick", note: "of hush-1234 and hush@hush.example" },
  };
  const everything = {
    keys: [{ key: "nickname", how: "hash" }],
    patterns: [
      { form: "hush-####", how: "full" },
      { name: "email", how: "hash" },
    ],
    fields: {
      ...hashed.fields,
      user_agent: "partial",
      actor_name: "full",
      resource_name: "partial",
      description: "hash",
      target_name: "hash",
    },
  };

  test("reaches neither Postgres nor SQS nor a log line nor an answer in clear", async () => {
    const { url } = await newQueue();
    const { url: exportUrl } = await newQueue();
    const target = workersWith({
      SQS_LOG_QUEUE_URL: url,
      SQS_EXPORT_QUEUE_URL: exportUrl,
      LOG_LEVEL: "DEBUG",
    });
    const { tenant, caller, logOf } = await newCaller(everything, target);
    const lines: string[] = [];
    for (const level of ["log", "warn", "error"] as const)
      vi.spyOn(console, level).mockImplementation((line) => void lines.push(String(line)));
    const id = await caller.create(secret);
    await caller.createAll([secret]);
    await callerOf(target, { tenant_id: tenant, sub: "x", role: "writer" }).post("/api/v1/logs", {
      ...entry(secret),
      nonsense: 1,
    });
    await caller.get("/api/v1/logs?user_id=hush-user&metadata.nickname=hush-nick");
    const filters = {
      user_id: "hush-user",
      target_id: ["hush-target"],
      "metadata.nickname": "hush-nick",
    };
    const started = await caller.post("/api/v1/logs/export", { filters });
    vi.restoreAllMocks();
    const rows = await rowsOf(
      sql`
        select audit_logs::text as text from audit_logs
        where tenant_id = ${tenant} and action in (${entry().action}, 'audit_log.export_started')`,
    );
    expect(rows).toHaveLength(3);
    const messages = [...(await drain(url)), ...(await drain(exportUrl))];
    expect(messages).toHaveLength(4);
    expect(lines.length).toBeGreaterThanOrEqual(5);
    for (const text of [
      JSON.stringify(rows),
      messages.join(),
      lines.join(),
      JSON.stringify(await logOf(id)),
      started.text,
    ])
      expect(text).not.toContain("hush");
  });

  test.skipIf(searchMissing !== "")(
    `does not reach OpenSearch (skipped: ${searchMissing})`,
    async () => {
      const { tenant, caller } = await newCaller(everything);
      await caller.create(secret);
      await caller.settled();
      const client = connectSearch(requireSection(parseConfig(workerEnv), "search"), 5_000);
      const search = async (query: object) => {
        const { body } = await client.search({
          index: "audit-logs",
          routing: tenant,
          body: { query },
        });
        return body.hits.hits;
      };
      // Not the service's own, which tells the rules.
      const filter = [{ term: { tenant_id: tenant } }, { term: { action: entry().action } }];
      const all = await search({ bool: { filter } });
      expect(all).toHaveLength(1);
      expect(JSON.stringify(all)).not.toContain("hush");
      expect(await search({ bool: { filter, must: [{ match: { text: "hush" } }] } })).toEqual([]);
    },
  );
});

describe.each([
  ["OpenSearch", workers, "opensearch"],
  ["Postgres", workersWith({ OPENSEARCH_HOST: nowhere }), "postgres"],
] as const)("a filter in %s", (_, target, source) => {
  test("finds what was stored in clear before the rule and hashed after it, and after its end", async () => {
    const { caller, setMasking, tenant } = await newCaller();
    const mine = {
      user_id: "nora",
      session_id: "s_1",
      request_id: "r_1",
      resource_id: "doc_7",
      ip_address: "203.0.113.7",
      targets: [{ type: "t", id: "t_1" }],
      metadata: { who: { nickname: "al" }, nicknames: ["al", 7], nickname: 7 },
    };
    const others = {
      user_id: "bob",
      session_id: "s_2",
      request_id: "r_2",
      resource_id: "doc_8",
      ip_address: "203.0.113.8",
      targets: [{ type: "t", id: "t_2" }],
      metadata: { who: { nickname: "bo" }, nicknames: ["bo"], nickname: 8 },
    };
    const ids: string[] = [];
    for (const rules of [null, hashed, null]) {
      await setMasking(rules);
      ids.push(await caller.create(mine));
      await caller.create(others);
    }
    await caller.settled();
    const reader = callerOf(target, { tenant_id: tenant });
    for (const query of [
      { user_id: "nora" },
      { session_id: "s_1" },
      { request_id: "r_1" },
      { resource_id: "doc_7" },
      { ip_address: "203.0.113.7" },
      { target_id: "t_1" },
      { "metadata.who.nickname": "al" },
      { "metadata.nicknames": "al" },
      { "metadata.nickname": "7" },
    ] satisfies Record<string, string>[]) {
      const found = await reader.list({ ...query, order: "asc" });
      expect(found.source).toBe(source);
      expect([query, found.items.map((item) => item.id)]).toEqual([query, ids]);
    }
    const either = await reader.list([
      ["user_id", "nora"],
      ["user_id", "bob"],
    ]);
    expect(either.total).toBe(6);
    const { body } = await reader.get("/api/v1/logs/stats?user_id=nora");
    expect(body).toMatchObject({ data: { total: 3 }, source });
    const paged: string[] = [];
    for (let cursor: string | null = ""; cursor !== null;) {
      const more: Record<string, string> = cursor === "" ? {} : { cursor };
      const page = await reader.list({ user_id: "nora", page_size: "1", ...more });
      paged.push(...page.items.map((item) => item.id));
      cursor = page.next_cursor;
    }
    expect(paged).toEqual(ids.toReversed());
  });
});

test("an export finds both too, and shows its filters masked", async () => {
  const { caller, setMasking, hash } = await newCaller();
  const mine = { user_id: "nora", metadata: { nickname: "al", password: "p" } };
  const ids = [await caller.create(mine)];
  await setMasking({ ...hashed, keys: [...hashed.keys, { key: "password", how: "hash" }] });
  ids.push(await caller.create(mine), await caller.create({ ...mine, user_id: "bob" }));
  const one = await exported(caller, {
    columns: ["id"],
    filters: { user_id: "nora", "metadata.nickname": ["al"] },
  });
  expect(one.text.trim().split("\r\n")).toEqual(["id", ...ids.slice(0, 2)]);
  const shown = { user_id: [hash("nora")], "metadata.nickname": [hash("al")] };
  expect(one.done["filters"]).toEqual(shown);
  expect(one.manifest.filters).toEqual(shown);
  // What was never stored in clear is found by its hash, and the export has it no more than the logs.
  const two = await exported(caller, { columns: ["id"], filters: { "metadata.password": "p" } });
  expect(two.text.trim().split("\r\n")).toEqual(["id", ...ids.slice(1)]);
  const rows = await rowsOf(
    sql`select filters::text as text from export_pipelines where id = ${two.done.id}`,
  );
  expect(String(rows[0]?.["text"])).not.toContain('"p"');
  // Nor what a guess could be held against without HASH_SECRET.
  const digest = createHash("sha256").update("p").digest("hex");
  expect(String(rows[0]?.["text"])).not.toContain(digest);
});

test("an export finds what a masked key's rule keeps: counts, and null", async () => {
  const { caller } = await newCaller();
  const id = await caller.create({ metadata: { max_tokens: 4096, password: null } });
  for (const filters of [{ "metadata.max_tokens": "4096" }, { "metadata.password": "null" }]) {
    const { text } = await exported(caller, { columns: ["id"], filters });
    expect(text).toBe(`id\r\n${id}\r\n`);
  }
});

describe("the user role, where user_id is hashed", () => {
  test("writes in its own name and sees its own logs, from before the rule too, and no others", async () => {
    const { caller, setMasking, userOf, logOf, hash } = await newCaller();
    const [alice, bob] = [userOf("alice-1"), userOf("bob-1")];
    const ids = [await alice.create({ user_id: "alice-1" })];
    await setMasking(hashed);
    ids.push(await alice.create({ user_id: "alice-1" }));
    const others = [
      await bob.create({ user_id: "bob-1" }),
      await caller.create({ user_id: "eve" }),
    ];
    expect(await logOf(ids[1] ?? "")).toMatchObject({
      user_id: hash("alice-1"),
      recorded_by: hash("alice-1"),
    });
    expect(await logOf(others[1] ?? "")).toMatchObject({ recorded_by: "alice" });
    await caller.settled();
    for (const query of [{}, { user_id: "alice-1" }])
      expect((await alice.list({ ...query, order: "asc" })).items.map((item) => item.id)).toEqual(
        ids,
      );
    expect((await alice.list({ user_id: "bob-1" })).items).toEqual([]);
    for (const id of ids) expect((await alice.get(`/api/v1/logs/${id}`)).status).toBe(200);
    for (const id of others) expect((await alice.get(`/api/v1/logs/${id}`)).status).toBe(404);
    expectProblem(await alice.post("/api/v1/logs", entry({ user_id: "bob-1" })), 403, "forbidden");
  });

  test("is held by row-level security where a query forgets its WHERE", async () => {
    const { tenant, caller, hash } = await newCaller(hashed);
    await caller.createAll([{ user_id: "alice-1" }, { user_id: "bob-1" }, {}]);
    const db = ownerOf();
    const scope = { tenantId: tenant, userId: "alice-1", userHash: hash("alice-1") };
    const [seen] = await inTenant(db, scope, [db.execute(sql`select user_id from audit_logs`)]);
    expect(seen.rows).toEqual([{ user_id: hash("alice-1") }]);
    const insert = (userId: string) =>
      inTenant(db, scope, [
        db.execute(sql`
          insert into audit_logs (id, tenant_id, created_at, occurred_at, recorded_by, action, severity,
            actor_type, resource_type, resource_id, user_id)
          values (audit_log_id(now(), 0), ${tenant}, now(), now(), 'x', 'a', 'INFO', 'user', 'r', '1', ${userId})`),
      ]);
    await insert(hash("alice-1"));
    const refused = await insert(hash("bob-1")).catch((error: unknown) => sqlState(error));
    expect(refused).toBe("42501");
  });

  test("is refused to a name that has the form of a hash, which may be another's", async () => {
    const { caller, userOf, hash } = await newCaller(hashed);
    await caller.create({ user_id: "alice-1" });
    const thief = userOf(hash("alice-1"));
    expectProblem(await thief.get("/api/v1/logs"), 403, "forbidden");
    expectProblem(
      await thief.post("/api/v1/logs", entry({ user_id: hash("alice-1") })),
      403,
      "forbidden",
    );
  });
});

describe("the rules of a tenant", () => {
  test("are given with it, listed, changed as a whole, and taken back", async () => {
    const { tenant, caller, setMasking } = await newCaller({ email: "clear" });
    expect((await platform.get(pathOf(tenant))).body).toMatchObject({
      data: { masking: { email: "clear" } },
    });
    await setMasking(hashed);
    expect((await caller.get(pathOf(tenant))).body).toMatchObject({ data: { masking: hashed } });
    const renamed = await platform.call("PATCH", pathOf(tenant), { name: "x" });
    expect(renamed.body).toMatchObject({ data: { masking: hashed } });
    const { body } = await platform.call("PATCH", pathOf(tenant), { masking: null, name: "y" });
    expect(body).toMatchObject({ data: { masking: null, name: "y" } });
  });

  test("say why user_id can only be hashed", async () => {
    const { tenant, caller } = await newCaller();
    const answer = await caller.call("PATCH", pathOf(tenant), {
      masking: {
        fields: { user_id: "full" },
        keys: [{ key: "a", how: "x" }],
        patterns: [{ how: "full" }],
      },
    });
    expect(expectProblem(answer, 422, "validation_failed")).toEqual([
      "/masking/fields/user_id",
      "/masking/keys/0/how",
      "/masking/patterns/0",
    ]);
    expect(answer.text).toContain("the user role is held to logs of its own user_id");
  });

  test("are text that the database can read again", async () => {
    const { tenant, caller } = await newCaller();
    const answer = await caller.call("PATCH", pathOf(tenant), {
      masking: {
        keys: [
          { key: "a\0", how: "full" },
          { key: "a\ud800", how: "full" },
        ],
        patterns: [
          { form: "abc\0", how: "full" },
          { form: "abc\udc00", how: "full" },
        ],
      },
    });
    expect(expectProblem(answer, 422, "validation_failed")).toEqual([
      "/masking/keys/0/key",
      "/masking/keys/1/key",
      "/masking/patterns/0/form",
      "/masking/patterns/1/form",
    ]);
  });

  test("are nobody's to change but its admin's and the platform's", async () => {
    const { tenant } = await newCaller();
    for (const role of ["auditor", "writer", "user"]) {
      const other = callerOf(workers, { tenant_id: tenant, role });
      expectProblem(await other.call("PATCH", pathOf(tenant), { masking: null }), 403, "forbidden");
    }
    const stranger = callerOf(workers, { tenant_id: newTenant() });
    expectProblem(
      await stranger.call("PATCH", pathOf(tenant), { masking: null }),
      404,
      "not_found",
    );
  });
});
