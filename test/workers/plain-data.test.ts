import { describe, expect, test } from "vitest";
import { z } from "zod";
import {
  callerOf,
  type Client,
  createdMany,
  entry,
  expectProblem,
  newTenant,
} from "../journeys/api.ts";
import { exported } from "./export-calls.ts";
import { nowhere, searchMissing, workers, workersWith } from "./tools.ts";

/** Keys that mean something to an object of JavaScript, and nothing in an audit log. */
const metadata =
  '{"__proto__":{"admin":true,"note":"polluted"},"constructor":{"prototype":{"admin":true}},' +
  '"prototype":"p","toString":"t","hasOwnProperty":1,"list":[{"__proto__":"deep"}]}';
const body = JSON.stringify(entry()).replace(/\}$/, `,"metadata":${metadata}}`);
const bulk = `{"logs":[${body},${body}]}`;

/** The metadata as an answer's text has it: to parse it could lose what is looked for. */
const metadataIn = (text: string): string[] =>
  [...text.matchAll(/"metadata":(\{.*?\}\]\})/g)].map((match) => match[1] ?? "");

const found = [
  ["metadata.__proto__.admin", "true"],
  ["metadata.__proto__.note", "polluted"],
  ["metadata.constructor.prototype.admin", "true"],
  ["metadata.prototype", "p"],
  ["metadata.toString", "t"],
  ["metadata.hasOwnProperty", "1"],
  ["metadata.list.__proto__", "deep"],
] as const;

async function storedLogs(caller: Client): Promise<string[]> {
  const one = await caller.post("/api/v1/logs", body);
  expect(one.status, one.text).toBe(201);
  const more = await caller.post("/api/v1/logs/bulk", bulk);
  expect(more.status, more.text).toBe(201);
  const { id } = z.object({ data: z.object({ id: z.string() }) }).parse(one.body).data;
  return [id, ...createdMany.parse(more.body).data.log_ids];
}

describe("keys that a prototype has", () => {
  test("are plain data on every way out", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const ids = await storedLogs(caller);
    await caller.settled();
    for (const id of ids)
      expect(metadataIn((await caller.get(`/api/v1/logs/${id}`)).text)).toEqual([metadata]);
    const list = await caller.get("/api/v1/logs?search=polluted");
    expect(metadataIn(list.text)).toEqual([metadata, metadata, metadata]);
    const lines = await exported(caller, { format: "jsonl" });
    expect(metadataIn(lines.text)).toEqual([metadata, metadata, metadata]);
    // The log of the first export is no log of these.
    const filters = { action: [entry().action] };
    const csv = await exported(caller, { columns: ["metadata"], filters });
    const field = `"${metadata.replaceAll('"', '""')}"`;
    expect(csv.text).toBe(["metadata", field, field, field, ""].join("\r\n"));
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect("admin" in {}).toBe(false);
  });

  test.skipIf(searchMissing !== "")("are paths of filters like any other", async () => {
    const tenant = newTenant();
    const caller = callerOf(workers, { tenant_id: tenant });
    const ids = await storedLogs(caller);
    await caller.settled();
    const fromPostgres = callerOf(workersWith({ OPENSEARCH_HOST: nowhere }), { tenant_id: tenant });
    for (const pair of found) {
      for (const one of [caller, fromPostgres]) {
        const { items, source } = await one.list([[...pair]]);
        expect(
          items.map(({ id }) => id),
          `${pair[0]} from ${source}`,
        ).toEqual(ids.toReversed());
        expect((await one.list([[pair[0], "other"]])).total).toBe(0);
      }
    }
    for (const [path, value] of found) {
      const { done, text } = await exported(caller, {
        columns: ["id"],
        filters: { [path]: [value] },
      });
      expect(text.trim().split("\r\n")).toEqual(["id", ...ids]);
      expect(done["filters"]).toEqual({ [path]: [value] });
    }
  });

  test("are no filters", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    for (const key of ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"]) {
      for (const route of ["logs", "logs/stats", "logs/export"]) {
        for (const query of [`${key}=x`, `${key}=x&${key}=y`, `${key}[action]=x`]) {
          const answer = await caller.get(`/api/v1/${route}?${query}`);
          const name = query.includes("[") ? `${key}[action]` : key;
          expect(expectProblem(answer, 422, "validation_failed")).toEqual([name]);
        }
      }
      for (const value of ['"x"', '{"action":["document.opened"]}']) {
        const wanted = `{"filters":{"${key}":${value}}}`;
        const answer = await caller.post("/api/v1/logs/export", wanted);
        expect(expectProblem(answer, 422, "validation_failed")).toEqual([`/filters/${key}`]);
      }
    }
  });

  test("beside other mistakes are named with them", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const answer = await caller.get("/api/v1/logs?page=0&__proto__=x");
    expect(expectProblem(answer, 422, "validation_failed")).toEqual(["__proto__", "page"]);
  });

  test.each([
    ["/api/v1/logs", entry(), ""],
    ["/api/v1/logs/bulk", { logs: [entry()] }, ""],
    ["/api/v1/logs/bulk", { logs: [entry()] }, "/logs/0"],
    ["/api/v1/logs/export", {}, ""],
  ])("are unknown fields of %s at %j", async (path, sent, place) => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    for (const key of ["__proto__", "constructor", "prototype"]) {
      const text = JSON.stringify(sent);
      const field = `"${key}":{"severity":"CRITICAL"}`;
      const changed =
        place === ""
          ? text.replace(/\{/, text === "{}" ? `{${field}` : `{${field},`)
          : text.replace("[{", `[{${field},`);
      const answer = await caller.post(path, changed);
      expect(expectProblem(answer, 422, "validation_failed")).toEqual([`${place}/${key}`]);
    }
  });
});

describe("a body of nothing but depth", () => {
  const caller = callerOf(workers, { tenant_id: newTenant() });
  const fourMib = 4 * 1024 * 1024;
  const half = fourMib / 2;

  test.each([
    ["[", fourMib, 400, "malformed_json"],
    ['{"a":', fourMib, 400, "malformed_json"],
  ])("of 4 MiB of %s is refused, and the Worker lives", async (piece, size, status, code) => {
    const text = piece.repeat(Math.floor(size / piece.length));
    expectProblem(await caller.post("/api/v1/logs/bulk", text), status, code);
    await caller.create();
  });

  test("is refused also where it is valid JSON", async () => {
    const deep = `${"[".repeat(half)}${"]".repeat(half)}`;
    expectProblem(await caller.post("/api/v1/logs/bulk", deep), 422, "validation_failed");
    const inside = deep.slice(100, -100);
    const asLogs = await caller.post("/api/v1/logs/bulk", `{"logs":${inside}}`);
    expect(expectProblem(asLogs, 422, "validation_failed")).toEqual(["/logs/0"]);
    const asMetadata = `{"logs":[${JSON.stringify(entry()).replace(/\}$/, `,"metadata":{"a":${deep.slice(200, -200)}}}`)}]}`;
    const answer = await caller.post("/api/v1/logs/bulk", asMetadata);
    expect(expectProblem(answer, 422, "validation_failed")).toEqual(["/logs/0/metadata"]);
    const asFilter = `{"filters":{"action":${deep.slice(0, 60_000)}${deep.slice(-60_000)}}}`;
    const wanted = await caller.post("/api/v1/logs/export", asFilter);
    expect(expectProblem(wanted, 422, "validation_failed")).toEqual(["/filters/action"]);
    await caller.create();
  });
});
