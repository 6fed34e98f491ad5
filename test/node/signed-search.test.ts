import { createHash, createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { SignatureV4 } from "@smithy/signature-v4";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connectS3 } from "../../aws/s3.ts";
import { parseConfig } from "../../platform/config.ts";
import { connectSearch } from "../../search/client.ts";

const keys = {
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
};
const region = "eu-west-1";

/** What SignatureV4 needs of a hash. */
class Sha256 {
  private readonly hash;
  constructor(key?: string | ArrayBuffer | ArrayBufferView) {
    const secret = typeof key === "string" ? key : key && bytesOf(key);
    this.hash = secret === undefined ? createHash("sha256") : createHmac("sha256", secret);
  }
  update(data: string | ArrayBuffer | ArrayBufferView): void {
    this.hash.update(typeof data === "string" ? data : bytesOf(data));
  }
  async digest(): Promise<Uint8Array> {
    return this.hash.digest();
  }
  reset(): void {
    throw new Error("is not reused");
  }
}

const bytesOf = (data: ArrayBuffer | ArrayBufferView): Uint8Array =>
  ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);

/** AWS's own implementation: it signs what arrived, with the headers and the time that the sender names. */
const independent = (service: string) =>
  new SignatureV4({ service, region, credentials: keys, sha256: Sha256, applyChecksum: false });

const queryOf = (url: URL): Record<string, string | string[]> => {
  const names = [...new Set(url.searchParams.keys())];
  return Object.fromEntries(
    names.map((name) => {
      const values = url.searchParams.getAll(name);
      return [name, values.length === 1 ? (values[0] ?? "") : values];
    }),
  );
};

const timeOf = (amzDate: string) =>
  new Date(amzDate.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));

async function expectedAuthorization(request: IncomingMessage, body: string): Promise<string> {
  const sent = String(request.headers.authorization ?? "");
  if (!sent.startsWith("AWS4-HMAC-SHA256 ")) return "";
  const signedNames = /SignedHeaders=([^,]+)/.exec(sent)?.[1]?.split(";") ?? [];
  const url = new URL(request.url ?? "/", "http://host");
  const headers = Object.fromEntries(
    signedNames.map((name) => [name, String(request.headers[name] ?? "")]),
  );
  const signed = await independent("es").sign(
    {
      method: request.method ?? "",
      protocol: "http:",
      hostname: "host",
      path: url.pathname,
      query: queryOf(url),
      headers,
      body,
    },
    {
      signingDate: timeOf(String(request.headers["x-amz-date"])),
      signableHeaders: new Set(signedNames),
    },
  );
  return signed.headers["authorization"] ?? "";
}

type Seen = { method: string; path: string; body: string; authorization: string };
let server: Server;
let node = "";
const seen: Seen[] = [];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await text(request);
  const expected = await expectedAuthorization(request, body);
  const authorization = String(request.headers.authorization ?? "");
  seen.push({ method: request.method ?? "", path: request.url ?? "", body, authorization });
  const isRight = strip(authorization) === strip(expected);
  response.writeHead(isRight ? 200 : 403, { "content-type": "application/json" });
  response.end(request.method === "HEAD" ? undefined : JSON.stringify({ isRight }));
}

/** A domain that answers 403 where the signature of what arrived is another one. */
beforeAll(async () => {
  server = createServer((request, response) => {
    void answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  node = `127.0.0.1:${typeof address === "object" ? address?.port : ""}`;
});
afterAll(() => {
  server.close();
});
beforeEach(() => {
  seen.length = 0;
});

/** The two implementations part the fields with and without a space. */
const strip = (authorization: string) => authorization.replaceAll(", ", ",");

function client(changed: Record<string, string> = {}) {
  const { search } = parseConfig({
    OPENSEARCH_HOST: node,
    OPENSEARCH_AUTH: "sigv4",
    OPENSEARCH_USER: "left over",
    OPENSEARCH_PASS: "hunter2",
    AWS_ACCESS_KEY_ID: keys.accessKeyId,
    AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    AWS_REGION: region,
    ...changed,
  }).sections;
  if (!search) throw new Error("the configuration is not whole");
  return connectSearch(search, 5_000);
}

test("a search is signed, with its query string and a body in any script", async () => {
  const answer = await client().search({
    index: "audit-logs",
    routing: "tenant ü/=&+(1)*'!",
    track_total_hits: 10_000,
    body: { query: { match: { text: 'naïve ☃ "𝕏" \u2028' } } },
  });
  expect(answer.body).toMatchObject({ isRight: true });
  expect(seen[0]?.path).toContain("routing=");
  expect(seen[0]?.authorization).toMatch(
    /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-west-1\/es\/aws4_request, SignedHeaders=host;x-amz-date, /,
  );
  expect(seen[0]?.body).toContain("☃");
});

test("a _bulk of many lines is signed as it is sent", async () => {
  const lines = Array.from({ length: 200 }, (_, n) => [
    { index: { _index: "audit-logs-2026.11", _id: String(n), routing: "acme" } },
    { description: `é ☃ ${"x".repeat(n)}`, n },
  ]).flat();
  const answer = await client().bulk({ body: lines });
  expect(answer.body).toMatchObject({ isRight: true });
  expect(seen[0]?.method).toBe("POST");
  expect(seen[0]?.body.split("\n")).toHaveLength(401);
});

test("requests without a body are signed: HEAD, GET, and names with a star", async () => {
  const search = client();
  expect((await search.ping()).body).toBe(true);
  expect((await search.cluster.health()).body).toMatchObject({ isRight: true });
  expect((await search.indices.refresh({ index: "audit-logs-*" })).body).toMatchObject({
    isRight: true,
  });
  expect(
    (await search.indices.get({ index: "audit-logs-2026.11-1,audit-logs-ü" })).body,
  ).toMatchObject({ isRight: true });
  expect(seen.map(({ method }) => method)).toEqual(["HEAD", "GET", "GET", "GET"]);
});

test("a wrong secret is refused, and the password beside it is never sent", async () => {
  const wrong = client({ AWS_SECRET_ACCESS_KEY: "not the secret" });
  await expect(wrong.cluster.health()).rejects.toThrow(/isRight|Response Error/);
  expect(seen).toHaveLength(1);
  expect(seen[0]?.authorization).not.toContain("Basic");
});

test("basic auth sends user and password, and no signature", async () => {
  await client({ OPENSEARCH_AUTH: "basic" })
    .cluster.health()
    .catch(() => undefined);
  expect(seen[0]?.authorization).toBe(
    `Basic ${Buffer.from("left over:hunter2").toString("base64")}`,
  );
});

test("a presigned link has the signature that another implementation computes", async () => {
  const config = { ...keys, region, endpoint: "http://127.0.0.1:9", bucket: "exports" };
  const link = new URL(await connectS3(config).presignGet("acme/é 1/audit-logs.csv", 900));
  const { "X-Amz-Signature": signature, ...query } = queryOf(link);
  const signer = new SignatureV4({
    service: "s3",
    region,
    credentials: keys,
    sha256: Sha256,
    uriEscapePath: false,
  });
  const asked = {
    method: "GET",
    protocol: "http:",
    hostname: link.hostname,
    path: link.pathname,
    query: Object.fromEntries(Object.entries(query).filter(([name]) => !name.startsWith("X-Amz-"))),
    headers: { host: link.host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
  };
  const signed = await signer.presign(asked, {
    expiresIn: 900,
    signingDate: timeOf(String(query["X-Amz-Date"])),
    unhoistableHeaders: new Set(["x-amz-content-sha256"]),
    unsignableHeaders: new Set(["x-amz-content-sha256"]),
  });
  expect(query).toMatchObject({ "X-Amz-Expires": "900", "X-Amz-SignedHeaders": "host" });
  expect(signature).toMatch(/^[0-9a-f]{64}$/);
  expect(signed.query?.["X-Amz-Signature"]).toBe(signature);
});
