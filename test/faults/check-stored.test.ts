import { expect, test } from "vitest";
import { seededRandom } from "../../bench/entries.ts";
import { checkStored } from "./check-stored.ts";
import { Ledger, type WriteOutcome } from "./ledger.ts";
import { makeLog, type SentLog } from "./make-log.ts";
import type { StoredLog } from "./stored-logs.ts";

const random = seededRandom(1);
const tenant = "acme";

function rowOf(log: SentLog, id = `id of ${log.marker}`): StoredLog {
  return {
    actor_name: null,
    actor_type: "user",
    after_state: "{}",
    before_state: "{}",
    created_at: "2026-11-24T08:00:00.000Z",
    email: null,
    email_hash: null,
    event_id: null,
    id,
    ip_address: null,
    masked_fields: null,
    occurred_at: "2026-11-24T08:00:00.000Z",
    outcome: null,
    recorded_by: "sender",
    request_id: null,
    resource_name: null,
    rev: 1,
    session_id: null,
    targets: "[]",
    tenant_id: tenant,
    truncated_fields: null,
    user_agent: null,
    ...log.fields,
    severity: log.fields.severity as StoredLog["severity"],
    metadata: log.metadata,
  };
}

/** What is broken when these logs were sent in one bulk, and these rows are there. */
function brokenBy(
  outcome: WriteOutcome,
  logs: SentLog[],
  rows: StoredLog[],
): Record<string, number> {
  const ledger = new Ledger();
  const ids = outcome === "acknowledged" ? logs.map(({ marker }) => `id of ${marker}`) : [];
  ledger.wrote({ tenant, kind: "bulk", logs, outcome, ids });
  const broken = checkStored(ledger, rows).map((check) => [check.name, check.broken.length]);
  return Object.fromEntries(broken.filter(([, count]) => count !== 0));
}

const [one, two] = [makeLog(random, "one"), makeLog(random, "two")];
const rows = [rowOf(one), rowOf(two)];

test("what was acknowledged and is there is whole", () => {
  expect(brokenBy("acknowledged", [one, two], rows)).toEqual({});
});

test("a lost log is missed", () => {
  expect(brokenBy("acknowledged", [one, two], [rowOf(one)])).toEqual({
    "every acknowledged log is in Postgres": 1,
    "a bulk is stored whole or not at all": 1,
  });
});

test("a write without an answer may be stored once or not at all", () => {
  expect(brokenBy("unknown", [one, two], [])).toEqual({});
  expect(brokenBy("unknown", [one, two], rows)).toEqual({});
  expect(brokenBy("unknown", [one, two], [...rows, rowOf(one, "another id")])).toEqual({
    "no log is there twice for one request": 1,
  });
});

test("what was refused must not be there", () => {
  expect(brokenBy("refused", [one], [rowOf(one)])).toEqual({
    "nothing of a refused request is stored": 1,
  });
});

test.each<[string, Partial<StoredLog>]>([
  ["another tenant", { tenant_id: "globex" }],
  ["another value", { description: "something else" }],
  ["a rounded number", { metadata: one.metadata.replace(/(\d{15})\d\d?/, "$100") }],
])("%s is noticed", (_, change) => {
  expect(brokenBy("acknowledged", [one], [{ ...rowOf(one), ...change }])).toEqual({
    "what is in Postgres is what was sent": 1,
  });
});

test("a log that no one sent is noticed", () => {
  expect(brokenBy("acknowledged", [one], [rowOf(one), rowOf(two)])).toEqual({
    "what is in Postgres is what was sent": 1,
  });
});

test("what was sent several times under one key must be there once", () => {
  const ledger = new Ledger();
  const ids = ["id of one"];
  ledger.wrote({ tenant, kind: "single", logs: [one], outcome: "acknowledged", ids, tries: 3 });
  const broken = (stored: StoredLog[]) =>
    checkStored(ledger, stored).flatMap((check) => (check.broken.length > 0 ? [check.name] : []));
  expect(broken([rowOf(one)])).toEqual([]);
  const name = "what was repeated under one key is there exactly once";
  expect(broken([])).toContain(name);
  expect(broken([rowOf(one), rowOf(one, "another id")])).toContain(name);
});
