import { describe, expect, test } from "vitest";
import { indexDocument, type LogToStore } from "./index-logs.ts";

const log: LogToStore = {
  id: "0198c0de-0000-7000-8000-000000000000",
  tenant_id: "acme",
  created_at: "2026-01-31T09:30:00.000Z",
  occurred_at: "2026-01-31T09:29:59.000Z",
  action: "user.login",
  severity: "INFO",
  outcome: "success",
  actor_type: "user",
  actor_name: "Nora",
  user_id: "u_7",
  email: "n***@example.com",
  email_hash: "hash",
  session_id: "s_19",
  request_id: "req_81",
  ip_address: "203.0.113.7",
  user_agent: "Mozilla/5.0",
  resource_type: "session",
  resource_id: "res_1",
  resource_name: "Q3",
  description: "Signed in",
  event_id: "evt_5",
  recorded_by: "alice",
  metadata: '{"a":{"n":9007199254740993,"10":["x","y"]},"b":null,"f":1.10}',
  before_state: '{"status":"draft"}',
  after_state: '{"status":{"deep":["deleted"]}}',
  targets: '[{"type":"folder","id":"f_1","name":"Inbox"},{"type":"label","id":"l_2"}]',
  truncated_fields: null,
  masked_fields: '["/email"]',
  rev: 3,
};
type Document = Record<string, unknown> & {
  text: string[];
  metadata_pairs: string[];
  target_ids: string[];
};
const documentOf = (changes: Partial<LogToStore> = {}) =>
  JSON.parse(indexDocument({ ...log, ...changes })) as Document;

describe("a log's document", () => {
  test("is one line, as _bulk needs it", () => {
    expect(indexDocument({ ...log, description: "two\r\nlines\u2028three" })).not.toMatch(/[\r\n]/);
  });

  test("has the log's fields as they are, objects as text", () => {
    expect(documentOf()).toMatchObject(log);
  });

  test("says what comparisons with the database need: its revision, and 31 bits of its id", () => {
    const id = "0198c0de-0000-7000-8000-0000f0000001";
    expect(documentOf({ id })).toMatchObject({ rev: 3, check: 0x7000_0001 });
  });

  test("has a pair for each leaf of the metadata, to the digit", () => {
    expect(documentOf().metadata_pairs).toEqual([
      "a.n=9007199254740993",
      "a.10=x",
      "a.10=y",
      "b=null",
      "f=1.10",
    ]);
    expect(documentOf({ metadata: `{"a":"${"x".repeat(2000)}"}` }).metadata_pairs).toEqual([
      expect.stringMatching(/^sha256:/),
    ]);
  });

  test("stays a small multiple of its log, whatever that has been made of", () => {
    const numbers = Array.from({ length: 40_000 }, (_, n) => n);
    const metadata = JSON.stringify({ ["\u0001".repeat(500)]: numbers });
    expect(metadata.length).toBeLessThan(256 * 1024);
    const document = documentOf({ metadata });
    expect(new Set(document.metadata_pairs).size).toBe(numbers.length);
    expect(JSON.stringify(document).length).toBeLessThan(4 * 1024 * 1024);
    const same = documentOf({ metadata: `{"a":[${"1,".repeat(100_000)}1]}` });
    expect(same.metadata_pairs).toEqual(["a=1"]);
  });

  test("has pairs of the paths that can be filtered by, and is made in time that grows with its log only", async () => {
    const leaf = { deep: "x" };
    const paths = { ["k".repeat(495)]: leaf, ["k".repeat(496)]: leaf };
    expect(documentOf({ metadata: JSON.stringify(paths) }).metadata_pairs).toHaveLength(1);
    const metadata = JSON.stringify({ ["k".repeat(128_000)]: Array<number>(60_000).fill(7) });
    const pause = () => new Promise((resolve) => setTimeout(resolve, 1));
    // The clock of a Worker stands still while it computes: it is read after a pause.
    await pause();
    const began = Date.now();
    expect(documentOf({ metadata })).toMatchObject({ metadata_pairs: [] });
    await pause();
    expect(Date.now() - began).toBeLessThan(3_000);
  });

  test("has every text field and every value of the objects to be searched", () => {
    const fields = [
      "user.login",
      "Nora",
      "u_7",
      "n***@example.com",
      "s_19",
      "req_81",
      "203.0.113.7",
      "Mozilla/5.0",
    ];
    const more = ["session", "res_1", "Q3", "Signed in", "evt_5"];
    const values = [
      "9007199254740993",
      "x",
      "y",
      "1.10",
      "draft",
      "deleted",
      "folder",
      "f_1",
      "Inbox",
      "l_2",
    ];
    const { text } = documentOf();
    expect(text.toSorted()).toEqual([...fields, ...more, ...values, "null", "label"].toSorted());
  });

  test("never has the address's hash among what is searched", () => {
    expect(documentOf().text).not.toContain("hash");
  });

  test("has the ids of all targets", () => {
    expect(documentOf().target_ids).toEqual(["f_1", "l_2"]);
    expect(documentOf({ targets: null }).target_ids).toEqual([]);
  });

  test("of objects that are null has no leaves", () => {
    const document = documentOf({
      metadata: null,
      before_state: null,
      after_state: null,
      targets: "[]",
      user_id: null,
    });
    expect(document.metadata_pairs).toEqual([]);
    expect(document.text).toHaveLength(12);
    expect(document).toMatchObject({ metadata: null, user_id: null });
  });
});
