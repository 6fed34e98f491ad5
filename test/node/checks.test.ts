import { expect, test } from "vitest";
import { auditDependencies, readAudit } from "../tools/audit.ts";
import { bundledPackages } from "../tools/bundled-packages.ts";
import { bundleSize, maxGzipKib, sizeTable, tooLarge } from "../tools/bundle-sizes.ts";

test("a bundle's size is read from what wrangler says", () => {
  const output = "some line\nTotal Upload: 2371.25 KiB / gzip: 403.12 KiB\nYour Worker has …";
  expect(bundleSize("audit-log-api", output)).toEqual({
    worker: "audit-log-api",
    kib: 2371.25,
    gzipKib: 403.12,
  });
  expect(bundleSize("audit-log-api", "✘ [ERROR] Build failed")).toBeUndefined();
});

test("bundles stand in one table, the largest first", () => {
  const sizes = [
    { worker: "indexer", kib: 2016.92, gzipKib: 315.85 },
    { worker: "api", kib: 2371.25, gzipKib: 2929.69 },
  ];
  expect(sizeTable(sizes).split("\n")).toEqual([
    "Worker    KiB  KiB gzip  of the limit",
    "api      2371      2930         100 %",
    "indexer  2017       316          11 %",
  ]);
});

test("a bundle that Cloudflare would not take is named", () => {
  const small = { worker: "api", kib: 9_000, gzipKib: maxGzipKib };
  expect(tooLarge([small])).toEqual([]);
  expect(tooLarge([small, { ...small, worker: "indexer", gzipKib: maxGzipKib + 0.1 }])).toEqual([
    "indexer",
  ]);
});

test("the packages of a bundle are told with their versions, and those that no audit asks about", () => {
  const meta = {
    inputs: {},
    outputs: {
      "index.js.map": { bytes: 9 },
      "index.js": {
        inputs: {
          "../../db/client.ts": { bytesInOutput: 900 },
          "../../node_modules/@hono/zod-openapi/dist/index.js": { bytesInOutput: 10 },
          "../../node_modules/debug/node_modules/ms/index.js": { bytesInOutput: 10 },
          "../../node_modules/supports-color/browser.js": { bytesInOutput: 10 },
          "../../node_modules/supports-color/index.js": { bytesInOutput: 10 },
          "../../node_modules/left-out/index.js": { bytesInOutput: 0 },
          "node_modules/unlocked/index.js": { bytesInOutput: 10 },
        },
      },
    },
  };
  const lock = {
    packages: {
      "": { name: "the project" },
      "node_modules/@hono/zod-openapi": { version: "1.6.3" },
      "node_modules/debug/node_modules/ms": { version: "2.1.3" },
      "node_modules/supports-color": { version: "10.2.2", dev: true },
    },
  };
  expect(bundledPackages(JSON.stringify(meta), JSON.stringify(lock))).toEqual([
    { folder: "node_modules/@hono/zod-openapi", version: "1.6.3", isAudited: true },
    { folder: "node_modules/debug/node_modules/ms", version: "2.1.3", isAudited: true },
    { folder: "node_modules/supports-color", version: "10.2.2", isAudited: false },
    { folder: "node_modules/unlocked", version: undefined, isAudited: false },
  ]);
});

test.each([
  ['{"auditReportVersion":2,"vulnerabilities":{},"metadata":{}}', { outcome: "clean" }],
  [
    '{"auditReportVersion":2,"vulnerabilities":{"hono":{"name":"hono","severity":"high","range":"<4.2.7"}}}',
    { outcome: "vulnerable", packages: ["hono <4.2.7: high"] },
  ],
  [
    '{"message":"405 Method Not Allowed"}',
    { outcome: "unknown", reason: "405 Method Not Allowed" },
  ],
  ["{}", { outcome: "unknown", reason: "npm audit wrote no report" }],
  ["npm error", { outcome: "unknown", reason: "npm audit wrote no JSON" }],
])("an audit of %s is told apart", (output, audit) => {
  expect(readAudit(output)).toEqual(audit);
});

test("an audit where no registry answers is no clean one", async () => {
  const before = process.env["npm_config_registry"];
  process.env["npm_config_registry"] = "http://127.0.0.1:9/";
  process.env["npm_config_fetch_retries"] = "0";
  try {
    expect(await auditDependencies(process.cwd())).toMatchObject({ outcome: "unknown" });
  } finally {
    delete process.env["npm_config_fetch_retries"];
    if (before === undefined) delete process.env["npm_config_registry"];
    else process.env["npm_config_registry"] = before;
  }
});
