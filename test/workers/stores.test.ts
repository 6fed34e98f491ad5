import { afterEach, expect, test, vi } from "vitest";
import { z } from "zod";
import { nowhere, searchMissing, type workers, workerEnv, workersWith } from "./tools.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

const listed = z.object({ source: z.string(), items: z.array(z.object({ id: z.string() })) });

async function send(target: typeof workers, tenant: string): Promise<string> {
  const answer = await target.fetch("/api/v1/logs", {
    method: "POST",
    headers: {
      Authorization: `Bearer ${await target.token({ tenant_id: tenant })}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify({ action: "store.read", resource_type: "store", resource_id: "1" }),
  });
  expect(answer.status).toBe(201);
  return z.object({ data: z.object({ id: z.string() }) }).parse(await answer.json()).data.id;
}

async function list(target: typeof workers, tenant: string) {
  const answer = await target.fetch("/api/v1/logs", {
    headers: { Authorization: `Bearer ${await target.token({ tenant_id: tenant })}` },
  });
  expect(answer.status).toBe(200);
  return listed.parse(await answer.json());
}

test.skipIf(searchMissing !== "")(
  `with OPENSEARCH_AUTH=sigv4 the Worker signs its searches (skipped: ${searchMissing})`,
  async () => {
    const host = workerEnv["OPENSEARCH_HOST"] ?? "";
    const fetch = vi.spyOn(globalThis, "fetch");
    const { source } = await list(workersWith({ OPENSEARCH_AUTH: "sigv4" }), "signed");
    expect(source).toBe("opensearch");
    // Pollers may be at work meanwhile: they search for nothing.
    const asked = fetch.mock.calls
      .map(([input]) => input)
      .filter((input) => input instanceof Request && input.url.startsWith(host))
      .filter((input) => input instanceof Request && input.url.includes("_search"))
      .map((input) => (input instanceof Request ? input.headers.get("Authorization") : ""));
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(
      /^AWS4-HMAC-SHA256 Credential=fake\/\d{8}\/ap-southeast-1\/es\/aws4_request, SignedHeaders=host;x-amz-date, Signature=[0-9a-f]{64}$/,
    );
  },
);

test.each([
  ["is the primary by another name", workerEnv["DATABASE_URL"]],
  ["does not answer", "postgres://reader:secret@127.0.0.1:9/audit"],
  ["is not the URL of a Postgres", "mysql://reader:secret@replica/audit"],
])("without OpenSearch a list is whole where the replica %s", async (_, DATABASE_READ_URL) => {
  const target = workersWith({
    OPENSEARCH_HOST: undefined,
    SQS_ENDPOINT: nowhere,
    DATABASE_READ_URL,
  });
  const tenant = `replica-${crypto.randomUUID()}`;
  const id = await send(target, tenant);
  expect(await list(target, tenant)).toEqual({ source: "postgres", items: [{ id }] });
});
