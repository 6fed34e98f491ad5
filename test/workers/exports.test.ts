import { describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { exportManifest } from "../../events/export-manifest.ts";
import { callerOf, type Client, newTenant } from "../journeys/api.ts";
import { workers } from "./tools.ts";

const answer = z.object({
  data: z.looseObject({
    id: z.string(),
    status: z.string(),
    file_url: z.string().nullable(),
    manifest_url: z.string().nullable(),
    rows_exported: z.number(),
  }),
});

async function start(caller: Client, body?: unknown) {
  const started = await caller.call("POST", "/api/v1/logs/export", body);
  expect(started.status, started.text).toBe(202);
  return answer.parse(started.body).data;
}

async function finished(caller: Client, id: string) {
  return vi.waitFor(
    async () => {
      const found = answer.parse((await caller.get(`/api/v1/logs/export/${id}`)).body).data;
      expect(["DONE", "FAILED", "CANCELLED"], JSON.stringify(found)).toContain(found.status);
      return found;
    },
    { timeout: 20_000, interval: 100 },
  );
}

async function exported(caller: Client, body?: unknown) {
  const { id } = await start(caller, body);
  const done = await finished(caller, id);
  expect(done, JSON.stringify(done)).toMatchObject({ status: "DONE", progress: 1 });
  const file = await fetch(done.file_url ?? "");
  const manifest = exportManifest.parse(await (await fetch(done.manifest_url ?? "")).json());
  return { done, file, text: await file.text(), manifest };
}

describe("an export", () => {
  test("of no logs is a header", async () => {
    const caller = callerOf(workers, { tenant_id: newTenant() });
    const { text, manifest } = await exported(caller);
    expect(text).toMatch(/^id,tenant_id,.*\r\n$/);
    expect(manifest.rows).toBe(0);
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
});
