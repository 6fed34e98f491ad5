import { sql } from "drizzle-orm";
import { afterEach, describe, expect, test, vi } from "vitest";
import { parseConfig, requireSection } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";
import { callerOf, newTenant } from "../journeys/api.ts";
import { rowsOf } from "./database.ts";
import { drain, newQueue } from "./queues.ts";
import { searchMissing, workerEnv, workers, workersWith } from "./tools.ts";

/** Every form in which a secret comes; each holds the text `hush`. */
const secrets = {
  email: "hush@example.com",
  description: "sent Bearer hush-hush-hush-hush",
  metadata: {
    user: { password: "hush", "api key": ["hush", { deeper: "hush" }], APIToken: { hush: "hush" } },
    headers: [{ "Set-Cookie": "hush" }, { Authorization: "hush" }],
    note: "curl -H 'authorization: bearer hush.hush.hush'",
    key: "-----BEGIN RSA PRIVATE KEY-----\nhush\n-----END RSA PRIVATE KEY-----",
  },
  before_state: { phoneNumber: "hush" },
  after_state: { iban: "hush", cvv: "hush" },
};
const card = "4111 1111 1111 1111";

describe("a secret", () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  test("reaches neither Postgres nor SQS nor a log line nor an answer in clear", async () => {
    const { url } = await newQueue();
    const lines: string[] = [];
    for (const level of ["log", "warn", "error"] as const) {
      vi.spyOn(console, level).mockImplementation((line) => void lines.push(String(line)));
    }
    const target = workersWith({ SQS_LOG_QUEUE_URL: url, LOG_LEVEL: "DEBUG" });
    const tenant = newTenant();
    const caller = callerOf(target, { tenant_id: tenant });
    const id = await caller.create({ ...secrets, before_state: { ...secrets.before_state, card } });
    const one = await caller.get(`/api/v1/logs/${id}`);
    await caller.get("/api/v1/logs?email=hush@example.com&search=hush&metadata.password=hush");
    await caller.get("/api/v1/logs/stats?email=hush@example.com");
    await caller.post("/api/v1/logs", { action: "a", metadata: { password: "hush" } });
    vi.restoreAllMocks();

    const [row] = await rowsOf(
      sql`select audit_logs::text as text from audit_logs where tenant_id = ${tenant}`,
    );
    const messages = await drain(url);
    expect(messages).toHaveLength(1);
    expect(lines.length).toBeGreaterThanOrEqual(5);
    for (const text of [
      String(row?.["text"]),
      messages.join(),
      lines.join(),
      one.text.replaceAll("h***@", ""),
    ]) {
      expect(text).not.toContain("hush");
      expect(text).not.toContain("1111");
    }
    expect(one.body).toMatchObject({
      data: {
        email: "h***@example.com",
        description: "sent Bearer ***",
        metadata: {
          user: { password: "***", "api key": "***", APIToken: "***" },
          note: "curl -H 'authorization: bearer ***'",
          key: "***",
        },
        before_state: { phoneNumber: "***", card: "***" },
        masked_fields: expect.arrayContaining([
          "/email",
          "/description",
          "/metadata/user/password",
          "/before_state/card",
        ]),
      },
    });
  });

  test.skipIf(searchMissing !== "")(
    `does not reach OpenSearch (skipped: ${searchMissing})`,
    async () => {
      const tenant = newTenant();
      const caller = callerOf(workers, { tenant_id: tenant });
      await caller.create(secrets);
      await caller.settled();
      const client = connectSearch(requireSection(parseConfig(workerEnv), "search"), 5_000);
      const query = {
        bool: { filter: [{ term: { tenant_id: tenant } }], must: [{ match: { text: "hush" } }] },
      };
      const { body } = await client.search({
        index: "audit-logs",
        routing: tenant,
        body: { query },
      });
      expect(body.hits.hits).toEqual([]);
      const all = await client.search({
        index: "audit-logs",
        routing: tenant,
        body: { query: { term: { tenant_id: tenant } } },
      });
      expect(JSON.stringify(all.body.hits.hits)).not.toContain("hush");
      expect(all.body.hits.hits).toHaveLength(1);
    },
  );

  test("may have a key that only the operator knows of", async () => {
    const caller = callerOf(workersWith({ MASK_KEYS: "national_id, shoeSize" }), {
      tenant_id: newTenant(),
    });
    const id = await caller.create({ metadata: { nationalId: "1", "shoe-size": 46, size: 46 } });
    const { body } = await caller.get(`/api/v1/logs/${id}`);
    expect(body).toMatchObject({
      data: { metadata: { nationalId: "***", "shoe-size": "***", size: 46 } },
    });
  });

  test("an address has another hash in every tenant", async () => {
    const tenants = [newTenant(), newTenant()];
    for (const tenant of tenants)
      await callerOf(workers, { tenant_id: tenant }).create({ email: "nora@example.com" });
    const rows = await rowsOf(
      sql`select distinct email_hash from audit_logs where tenant_id in ${tenants}`,
    );
    expect(rows).toHaveLength(2);
  });
});
