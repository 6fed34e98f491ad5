import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, expect, test } from "vitest";
import {
  type Answered,
  type FaultProxyOptions,
  type Rule,
  startFaultProxy,
} from "./fault-proxy.ts";

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

type Handler = (body: string, incoming: IncomingMessage, outgoing: ServerResponse) => void;

/** A backend that keeps what it got, behind a proxy with these rules. */
async function behindProxy(
  kind: FaultProxyOptions["kind"],
  handler: Handler,
  rules: readonly Rule[] = [],
  more: Partial<FaultProxyOptions> = {},
) {
  const got: string[] = [];
  const backend = createServer((incoming, outgoing) => {
    let body = "";
    incoming.on("data", (chunk: Buffer) => (body += chunk.toString()));
    incoming.on("end", () => {
      got.push(body);
      handler(body, incoming, outgoing);
    });
  });
  backend.listen(0, "127.0.0.1");
  await once(backend, "listening");
  stops.push(async () => {
    backend.closeAllConnections();
    backend.close();
  });
  const { port } = backend.address() as AddressInfo;
  const proxy = await startFaultProxy({
    kind,
    target: `http://127.0.0.1:${port}`,
    random: () => 0,
    ...more,
  });
  stops.push(() => proxy.stop());
  proxy.rules = rules;
  const post = (path: string, body: string, headers: Record<string, string> = {}) =>
    fetch(proxy.url + path, { method: "POST", body, headers });
  return { proxy, got, post };
}

const echo: Handler = (body, _, outgoing) => outgoing.end(`you said ${body}`);
const always = (fault: Rule["fault"]): Rule[] => [{ probability: 1, fault }];

test("without rules a call and its answer pass as they are", async () => {
  const { proxy, post } = await behindProxy("s3", (body, incoming, outgoing) => {
    outgoing.writeHead(201, { etag: '"x"' });
    outgoing.end(`${incoming.method} ${incoming.url} ${incoming.headers["x-some"]} ${body}`);
  });
  const answer = await post("/a/b?c=d", "body", { "x-some": "header" });
  expect([answer.status, answer.headers.get("etag")]).toEqual([201, '"x"']);
  expect(await answer.text()).toBe("POST /a/b?c=d header body");
  expect(proxy.calls).toBe(1);
  expect([...proxy.counts]).toEqual([]);
});

test("a HEAD keeps the length that it tells", async () => {
  const { proxy } = await behindProxy("s3", (_, __, outgoing) => {
    outgoing.writeHead(200, { "content-length": "12345" });
    outgoing.end();
  });
  const answer = await fetch(proxy.url, { method: "HEAD" });
  expect(answer.headers.get("content-length")).toBe("12345");
});

test("a reset call never reaches the backend, one whose answer is lost does", async () => {
  const told: Answered[] = [];
  const { proxy, got, post } = await behindProxy("sqs", echo, always({ kind: "reset" }), {
    onAnswer: (answered) => told.push(answered),
  });
  await expect(post("/", "first")).rejects.toThrow("fetch failed");
  expect(got).toEqual([]);
  proxy.rules = always({ kind: "lose-answer" });
  await expect(post("/", "second")).rejects.toThrow("fetch failed");
  expect(got).toEqual(["second"]);
  expect(
    told.map(({ status, answer, isDelivered }) => [status, String(answer), isDelivered]),
  ).toEqual([[200, "you said second", false]]);
  expect([...proxy.counts]).toEqual([
    ["reset", 1],
    ["lose-answer", 1],
  ]);
});

test("a truncated answer begins well and breaks off", async () => {
  const { post } = await behindProxy("opensearch", echo, always({ kind: "truncate" }));
  const answer = await post("/", "x".repeat(1000));
  expect(answer.status).toBe(200);
  await expect(answer.text()).rejects.toThrow("terminated");
});

test("a delayed call arrives later", async () => {
  const { got, post } = await behindProxy("postgres", echo, always({ kind: "delay", ms: 150 }));
  const began = performance.now();
  await post("/sql", "patient");
  expect(performance.now() - began).toBeGreaterThan(140);
  expect(got).toEqual(["patient"]);
});

test("a call is forwarded though its caller has gone in the meantime", async () => {
  const { proxy, got } = await behindProxy("postgres", echo, always({ kind: "delay", ms: 100 }));
  const signal = AbortSignal.timeout(30);
  await expect(fetch(proxy.url, { method: "POST", body: "late", signal })).rejects.toThrow(
    "aborted due to timeout",
  );
  await expect.poll(() => got).toEqual(["late"]);
});

test.each([
  ["s3", 503, "<Code>SlowDown</Code>"],
  ["s3", 500, "<Code>InternalError</Code>"],
  ["sqs", 429, "ThrottlingException"],
  ["opensearch", 429, "rejected_execution_exception"],
  ["postgres", 503, "message"],
] as const)("an error of %s, status %d, is worded as it does", async (kind, status, words) => {
  const rules = always({ kind: "answer", status, retryAfter: 2 });
  const { got, post } = await behindProxy(kind, echo, rules);
  const answer = await post("/", "x");
  expect(answer.status).toBe(status);
  expect(answer.headers.get("retry-after")).toBe(status === 500 ? null : "2");
  expect(await answer.text()).toContain(words);
  expect(got).toEqual([]);
});

test("a rule is for the calls that it names", async () => {
  const rules: Rule[] = [
    { probability: 1, fault: { kind: "reset" }, on: ({ name }) => name === "UploadPart" },
  ];
  const { proxy } = await behindProxy("s3", echo, rules);
  const put = (path: string) => fetch(proxy.url + path, { method: "PUT", body: "x" });
  expect((await put("/b/key")).status).toBe(200);
  await expect(put("/b/key?partNumber=1&uploadId=u")).rejects.toThrow("fetch failed");
});

test("refused connections are refused until they are accepted again, on the same port", async () => {
  const { proxy, post } = await behindProxy("s3", echo);
  const { url } = proxy;
  await proxy.refuse();
  await expect(post("/", "x")).rejects.toMatchObject({ cause: { code: "ECONNREFUSED" } });
  await proxy.accept();
  expect(proxy.url).toBe(url);
  expect((await post("/", "x")).status).toBe(200);
});

const target = { "x-amz-target": "AmazonSQS.SendMessageBatch" };
const numbers =
  (...values: number[]) =>
  () =>
    values.shift() ?? 1;

test("single entries of a batch fail, and only the others reach SQS", async () => {
  const { proxy, got, post } = await behindProxy(
    "sqs",
    (_, __, outgoing) => outgoing.end(JSON.stringify({ Successful: [{ Id: "1" }] })),
    always({ kind: "entries", share: 0.5 }),
    { random: numbers(0, 0.1, 0.9, 0.2) },
  );
  const Entries = ["0", "1", "2"].map((Id) => ({ Id, MessageBody: "x" }));
  const answer = await post("/", JSON.stringify({ QueueUrl: "q", Entries }), target);
  expect(JSON.parse(got[0] ?? "")).toEqual({ QueueUrl: "q", Entries: [Entries[1]] });
  expect(await answer.json()).toMatchObject({
    Successful: [{ Id: "1" }],
    Failed: [{ Id: "0" }, { Id: "2" }],
  });
  expect(proxy.counts.get("entries")).toBe(2);
});

test("a batch of which all fails does not reach SQS", async () => {
  const rules = always({ kind: "entries", share: 1 });
  const { got, post } = await behindProxy("sqs", echo, rules);
  const answer = await post("/", JSON.stringify({ Entries: [{ Id: "0" }] }), target);
  expect(await answer.json()).toMatchObject({ Failed: [{ Id: "0" }] });
  expect(got).toEqual([]);
});

const bulk = (...texts: string[]) =>
  texts
    .flatMap((text, n) => [{ index: { _index: "i", _id: String(n) } }, { text }])
    .map((line) => `${JSON.stringify(line)}\n`)
    .join("");

test("single items of a _bulk fail in their places", async () => {
  const { got, post } = await behindProxy(
    "opensearch",
    (_, __, outgoing) =>
      outgoing.end(JSON.stringify({ took: 5, items: [{ index: { _id: "1", status: 201 } }] })),
    always({ kind: "entries", share: 0.5 }),
    { random: numbers(0, 0.1, 0.1, 0.9, 0.2, 0.8) },
  );
  const answer = await post("/_bulk?require_alias=true", bulk("a", "b", "c"));
  expect(got[0]).toBe(`${JSON.stringify({ index: { _index: "i", _id: "1" } })}\n{"text":"b"}\n`);
  expect(await answer.json()).toMatchObject({
    took: 5,
    errors: true,
    items: [
      { index: { _id: "0", status: 429 } },
      { index: { _id: "1", status: 201 } },
      { index: { _id: "2", status: 503 } },
    ],
  });
});

test("a poisoned document is refused always, and counts as no fault", async () => {
  const { proxy, got, post } = await behindProxy("opensearch", echo, [], { poison: "arsenic" });
  const answer = await post("/_bulk", bulk("tea with arsenic"));
  expect(await answer.json()).toMatchObject({ items: [{ index: { status: 400 } }] });
  expect(got).toEqual([]);
  expect([...proxy.counts]).toEqual([]);
});
