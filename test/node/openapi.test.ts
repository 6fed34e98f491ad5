import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { z } from "zod";
import { runPythonClient, runTypeScriptClient, saveDocument } from "../api/generate-clients.ts";
import { runPropertyTests } from "../api/property-tests.ts";
import { type Api, startApi } from "../api/start-api.ts";
import { findMissing } from "../api/walk-document.ts";
import "../provided.ts";
import { pythonTools, run } from "../tools/python-tools.ts";

const tools = await pythonTools();
const noPython = "missing" in tools ? tools.missing : "";
const noSearch = inject("searchMissing");

let dir = "";
let api: Api;
let documentFile = "";

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "audit-log-openapi-test-"));
  api = await startApi(inject("workerEnv"), join(dir, "workers"));
  documentFile = await saveDocument(api, dir);
}, 120_000);
afterAll(async () => {
  await api.stop();
  await rm(dir, { recursive: true, force: true });
});

describe("the API's document", () => {
  test("has nothing that a linter of OpenAPI finds", { timeout: 60_000 }, async () => {
    const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
    const redocly = file("../../node_modules/@redocly/cli/bin/cli.js");
    const config = file("../api/redocly.yaml");
    const environment = {
      ...process.env,
      REDOCLY_TELEMETRY: "off",
      REDOCLY_SUPPRESS_UPDATE_NOTICE: "true",
    };
    const told = await run(
      process.execPath,
      [redocly, "lint", documentFile, `--config=${config}`, "--format=summary"],
      60_000,
      environment,
    ).catch(String);
    expect(told).toContain("Your API description is valid");
    expect(told).not.toMatch(/warning/i);
  });

  test("describes every parameter, header, answer and field, each with an example", async () => {
    const text = await readFile(documentFile, "utf8");
    const document = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
    expect(findMissing(document)).toEqual([]);
  });
});

describe.skipIf(noSearch !== "")(`a client made from the document (skipped: ${noSearch})`, () => {
  const options = async (word: string) => ({
    api,
    word,
    documentFile,
    dir,
    token: await api.token({ tenant_id: `clients-${word}`, role: "admin", sub: "alice" }),
  });

  test("in TypeScript stores a log, finds it, and exports it", { timeout: 120_000 }, async () => {
    const result = await runTypeScriptClient(await options("typewritten"));
    expect(result).toMatchObject({ severity: "WARNING", rows: 1 });
  });

  test.skipIf(noPython !== "")(
    `in Python stores a log, finds it, and exports it (skipped: ${noPython})`,
    { timeout: 120_000 },
    async () => {
      const result = await runPythonClient(
        await options("slithering"),
        tools as { python: string },
      );
      expect(result).toMatchObject({ severity: "WARNING", rows: 1 });
    },
  );
});

// Longer ones: npm run test:api.
describe.skipIf(noSearch !== "" || noPython !== "")(
  `the API (skipped: ${noSearch}${noPython})`,
  () => {
    test(
      "answers every form of request as its document says, on all its operations",
      { timeout: 300_000 },
      async () => {
        if ("missing" in tools) throw new Error(tools.missing);
        const options = { tools, api, seed: 1, examples: 5, timeoutMs: 240_000 };
        const report = await runPropertyTests(options);
        expect(report.failures.join("\n\n")).toBe("");
        const document = await readFile(documentFile, "utf8");
        expect(report.operations).toBe(document.match(/"operationId"/g)?.length);
        expect(report.cases).toBeGreaterThan(1_000);
      },
    );
  },
);
