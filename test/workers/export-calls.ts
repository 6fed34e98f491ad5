import { expect, vi } from "vitest";
import { z } from "zod";
import { exportManifest } from "../../events/export-manifest.ts";
import type { Client } from "../journeys/api.ts";

export const exportAnswer = z.object({
  data: z.looseObject({
    id: z.string(),
    status: z.string(),
    file_url: z.string().nullable(),
    manifest_url: z.string().nullable(),
    rows_exported: z.number(),
  }),
});

export async function start(caller: Client, body?: unknown) {
  const started = await caller.call("POST", "/api/v1/logs/export", body);
  expect(started.status, started.text).toBe(202);
  return exportAnswer.parse(started.body).data;
}

export async function finished(caller: Client, id: string) {
  return vi.waitFor(
    async () => {
      const found = exportAnswer.parse((await caller.get(`/api/v1/logs/export/${id}`)).body).data;
      expect(["DONE", "FAILED", "CANCELLED"], JSON.stringify(found)).toContain(found.status);
      return found;
    },
    { timeout: 20_000, interval: 100 },
  );
}

export async function exported(caller: Client, body?: unknown) {
  const { id } = await start(caller, body);
  const done = await finished(caller, id);
  expect(done, JSON.stringify(done)).toMatchObject({ status: "DONE", progress: 1 });
  const file = await fetch(done.file_url ?? "");
  const manifest = exportManifest.parse(await (await fetch(done.manifest_url ?? "")).json());
  return { done, file, text: await file.text(), manifest };
}
